"""Authentication by the application, in place of a token.

The hub posts the method, path and query of a request to one URL of the application, together with
the headers that identify a user. It caches the response for as long as Cache-Control: max-age
allows. A user is accepted only if the response is a complete and valid 200.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec
import structlog

from hub.api.authentication import COOKIE, Identity, bearer_token, check_path_user
from hub.api.origins import AllowedOrigins
from hub.api.request_context import RequestContext
from hub.core.channel import check_user_id
from hub.error_codes import ACCESS_REFUSED, USER_NOT_RECOGNISED
from hub.errors import BadRequest, CallbackUnavailable, Forbidden, Unauthorized

_MAX_RESPONSE_BYTES: Final = 16 * 1024
_MAX_CACHED: Final = 10_000
_FORWARDED_HEADERS: Final = ("Authorization", "Cookie", "Origin", "User-Agent", "Accept-Language")
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])")
_UNAVAILABLE: Final = "the application could not authenticate you; try again"
_log = structlog.get_logger(__name__)


class CallbackResponse(msgspec.Struct, frozen=True):
    """The application's response. expires_in: seconds after which a stream must end."""

    user: str
    topics: tuple[str, ...] = ()
    expires_in: float | None = None


class CallbackAuthenticator:
    """Asks the application: 200 with a CallbackResponse accepts the user, 401 and 403 do not."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        origins: AllowedOrigins,
        *,
        timeout_seconds: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._url = url
        self._origins = origins
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._wall = wall
        # The identities and until when (Unix seconds) they are valid; the oldest entry first.
        self._cache: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    async def identify(self, request: RequestContext) -> Identity:
        if bearer_token(request) is None and "Cookie" in request.headers:
            self._origins.check_cookie(request)
        key = _cache_key(request)
        valid_until, identity = self._cache.get(key, (-math.inf, None))
        if identity is None or valid_until <= self._wall():
            identity = await self._fetch(request, key)
        check_path_user(request, identity.user, "the path names another user")
        return identity

    async def _fetch(self, request: RequestContext, key: bytes) -> Identity:
        headers = {
            name: request.headers[name] for name in _FORWARDED_HEADERS if name in request.headers
        }
        body = {"method": request.method, "path": request.path, "query": dict(request.query)}
        try:
            async with self._session.post(
                self._url,
                json=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                status = response.status
                content = await response.content.read(_MAX_RESPONSE_BYTES)
                max_age = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("callback.failed", error=type(error).__name__)
            raise CallbackUnavailable(_UNAVAILABLE) from error
        if status == 401:
            raise Unauthorized("the application does not recognise you", code=USER_NOT_RECOGNISED)
        if status == 403:
            raise Forbidden("the application refused access", code=ACCESS_REFUSED)
        if status != 200:
            _log.warning("callback.failed", status=status)
            raise CallbackUnavailable(_UNAVAILABLE)
        identity = self._parse(content)
        if max_age is not None:
            self._store(key, identity, float(max_age[1]))
        return identity

    def _parse(self, content: bytes) -> Identity:
        try:
            response = msgspec.json.decode(content, type=CallbackResponse)
            user = check_user_id(response.user, path="user")
        except (msgspec.DecodeError, BadRequest) as error:
            _log.warning("callback.failed", error=str(error))
            raise CallbackUnavailable("the application's response is invalid") from error
        expires_at = None if response.expires_in is None else self._wall() + response.expires_in
        return Identity(user, response.topics, expires_at)

    def _store(self, key: bytes, identity: Identity, max_age_seconds: float) -> None:
        valid_until = self._wall() + max_age_seconds
        if identity.expires_at is not None:
            valid_until = min(valid_until, identity.expires_at)
        self._cache[key] = (valid_until, identity)
        self._cache.move_to_end(key)
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)


def _cache_key(request: RequestContext) -> bytes:
    """Return a hash of everything that identifies the user: the cache must not hold secrets."""
    credentials = (
        request.headers.get("Authorization", ""),
        request.headers.get("Cookie", "") or request.cookies.get(COOKIE, ""),
        request.query.get("access_token", ""),
    )
    return hashlib.sha256("\0".join(credentials).encode("utf-8", "surrogateescape")).digest()
