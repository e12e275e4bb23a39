"""Authentication by the application, in place of a token.

The hub posts the method, path and query of a request to one URL of the application, together with
the headers that identify a user. A user is accepted only if the response is a complete and valid
200. Rules of the cache:

1. A response is cached for as long as Cache-Control: max-age allows, without no-store and no-cache.
2. It is used again only for a request from which exactly the same would be forwarded.
3. Only a request with a credential of its own (Authorization, Cookie or access_token) is cached. An
   application may give each request without one another identity.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from hub.api.authentication import Identity, check_path_user, user_token
from hub.api.json_decoding import decode_json
from hub.api.origins import AllowedOrigins
from hub.api.request_context import RequestContext
from hub.api.scopes import parse_scopes
from hub.api.tokens import MAX_EXPIRES_AT
from hub.core.cache_control import parse_cache_control
from hub.core.channel import check_user_id
from hub.error_codes import ACCESS_REFUSED, USER_NOT_RECOGNISED
from hub.errors import BadRequest, CallbackUnavailable, Forbidden, Unauthorized
from hub.http.response_body import read_response_body

_MAX_RESPONSE_BYTES: Final = 16 * 1024
_MAX_CACHED: Final = 10_000
_FORWARDED_HEADERS: Final = ("Authorization", "Cookie", "Origin", "User-Agent", "Accept-Language")
_CREDENTIAL_HEADERS: Final = ("Authorization", "Cookie")
_UNAVAILABLE: Final = "the application could not authenticate you; try again"
_log = structlog.get_logger(__name__)


class CallbackResponse(msgspec.Struct, frozen=True):
    """The application's response. expires_in: seconds after which a stream must end. The others
    mean the same as the claims of a token.
    """

    user: str
    topics: tuple[str, ...] = ()
    expires_in: float | None = None
    scope: str | list[str] | None = None
    ask_topics: tuple[str, ...] = ()


class CallbackRequest(msgspec.Struct, frozen=True):
    """What is forwarded from a request to the application."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def has_credential(self) -> bool:
        """Whether the request carries a credential of its own."""
        return bool(
            any(self.headers.get(name) for name in _CREDENTIAL_HEADERS)
            or self.body["query"].get("access_token")
        )

    def digest(self) -> bytes:
        """Return a hash of all of it: the cache must not hold secrets."""
        forwarded = json.dumps([self.headers, self.body], sort_keys=True)
        return hashlib.sha256(forwarded.encode()).digest()


class CallbackAuthenticator:
    """Asks the application: 200 with a CallbackResponse accepts the user, 401 and 403 do not.

    require_scope: whether a response without a scope of the hub allows nothing. proxy: the URL of
    an HTTP proxy.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        origins: AllowedOrigins,
        *,
        timeout_seconds: float,
        require_scope: bool = False,
        proxy: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy
        self._origins = origins
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._require_scope = require_scope
        self._wall = wall
        # The identities and until when (Unix seconds) they are valid; the oldest entry first.
        self._cache: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    async def identify(self, request: RequestContext) -> Identity:
        if user_token(request) is None and "Cookie" in request.headers:
            self._origins.check_cookie(request)
        forwarded = _callback_request(request)
        key = forwarded.digest()
        valid_until, identity = self._cache.get(key, (-math.inf, None))
        if identity is None or valid_until <= self._wall():
            identity, max_age = await self._fetch(forwarded)
            if max_age is not None and forwarded.has_credential:
                self._store(key, identity, max_age)
        check_path_user(request, identity.user)
        return identity

    async def _fetch(self, forwarded: CallbackRequest) -> tuple[Identity, float | None]:
        """Return the identity, and for how many seconds it may be cached, or None."""
        try:
            async with self._session.post(
                self._url,
                json=forwarded.body,
                headers=forwarded.headers,
                timeout=self._timeout,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                status = response.status
                content = await read_response_body(response, _MAX_RESPONSE_BYTES)
                cache_control = ",".join(response.headers.getall("Cache-Control", ()))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            _log.warning("callback.failed", error=type(error).__name__)
            raise CallbackUnavailable(_UNAVAILABLE) from error
        if status == 401:
            raise Unauthorized("the application does not recognise you", code=USER_NOT_RECOGNISED)
        if status == 403:
            raise Forbidden("the application refused access", code=ACCESS_REFUSED)
        if status != 200:
            _log.warning("callback.failed", status=status)
            raise CallbackUnavailable(_UNAVAILABLE)
        return self._parse(content), parse_cache_control(cache_control)

    def _parse(self, content: bytes) -> Identity:
        try:
            response = decode_json(content, CallbackResponse)
            user = check_user_id(response.user, path="user")
        except BadRequest as error:
            _log.warning("callback.failed", error=str(error))
            raise CallbackUnavailable("the application's response is invalid") from error
        expires_at = None
        if response.expires_in is not None:
            expires_at = min(self._wall() + response.expires_in, MAX_EXPIRES_AT)
        scopes = parse_scopes(response.scope, require_scope=self._require_scope)
        return Identity(
            user, response.topics, expires_at, scopes=scopes, ask_topics=response.ask_topics
        )

    def _store(self, key: bytes, identity: Identity, max_age_seconds: float) -> None:
        valid_until = self._wall() + max_age_seconds
        if identity.expires_at is not None:
            valid_until = min(valid_until, identity.expires_at)
        self._cache[key] = (valid_until, identity)
        self._cache.move_to_end(key)
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)


def _callback_request(request: RequestContext) -> CallbackRequest:
    """Return what is forwarded to the application.

    Raise Unauthorized, BadRequest for bytes that the hub's HTTP client cannot send.
    """
    headers = {
        name: request.headers[name] for name in _FORWARDED_HEADERS if name in request.headers
    }
    if "Authorization" not in headers and (token := user_token(request)) is not None:
        headers["Authorization"] = f"Bearer {token}"  # it came as `x-api-key`
    for name, value in headers.items():
        if not value.isprintable():  # surrogates stand for bytes that are not UTF-8
            refused = Unauthorized if name in _CREDENTIAL_HEADERS else BadRequest
            raise refused(f"the header {name} has characters that are not printable")
    body = {"method": request.method, "path": request.path, "query": dict(request.query)}
    return CallbackRequest(headers, body)
