"""The application says who a request is from, in place of a token.

The hub posts what it knows of the request to one URL of the application, with the headers that
carry who somebody is, and takes the answer for as long as it is told. Whatever is not a clear yes
is a no.
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

from hub.api.authentication import COOKIE, Identity, bearer_token
from hub.api.origins import AllowedOrigins
from hub.api.request_context import RequestContext
from hub.core.channel import check_user_id
from hub.errors import BadRequest, CallbackUnavailable, Forbidden, Unauthorized

_MAX_RESPONSE_BYTES: Final = 16 * 1024
_MAX_CACHED: Final = 10_000
_PASSED_ON: Final = ("Authorization", "Cookie", "Origin", "User-Agent", "Accept-Language")
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])")
_log = structlog.get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What the application says. expires_in: seconds that its yes is good for a stream."""

    user: str
    topics: tuple[str, ...] = ()
    expires_in: float | None = None


class CallbackAuthenticator:
    """Asks the application: 200 with an Answer lets in, 401 and 403 do not."""

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
        self._kept: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    async def identify(self, request: RequestContext) -> Identity:
        if bearer_token(request) is None and "Cookie" in request.headers:
            self._origins.check_cookie(request)
        key = _key(request)
        until, identity = self._kept.get(key, (-math.inf, None))
        if identity is None or until <= self._wall():
            identity = await self._ask(request, key)
        named = request.match_info.get("user_id")
        if named is not None and check_user_id(named, path="user") != identity.user:
            raise Forbidden("you are another user")
        return identity

    async def _ask(self, request: RequestContext, key: bytes) -> Identity:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        about = {"method": request.method, "path": request.path, "query": dict(request.query)}
        try:
            async with self._session.post(
                self._url,
                json=about,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                status = response.status
                body = await response.content.read(_MAX_RESPONSE_BYTES)
                max_age = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("callback.failed", error=type(error).__name__)
            raise CallbackUnavailable("the application does not say who you are") from error
        if status == 401:
            raise Unauthorized("the application does not know you")
        if status == 403:
            raise Forbidden("the application does not let you in")
        if status != 200:
            _log.warning("callback.failed", status=status)
            raise CallbackUnavailable("the application does not say who you are")
        identity = self._read(body)
        if max_age is not None:
            self._keep(key, identity, float(max_age[1]))
        return identity

    def _read(self, body: bytes) -> Identity:
        try:
            answer = msgspec.json.decode(body, type=Answer)
            user = check_user_id(answer.user, path="user")
        except (msgspec.DecodeError, BadRequest) as error:
            _log.warning("callback.failed", error=str(error))
            raise CallbackUnavailable("the application's answer is not understood") from error
        expires_at = None if answer.expires_in is None else self._wall() + answer.expires_in
        return Identity(user, answer.topics, expires_at)

    def _keep(self, key: bytes, identity: Identity, seconds: float) -> None:
        until = self._wall() + seconds
        if identity.expires_at is not None:
            until = min(until, identity.expires_at)
        self._kept[key] = (until, identity)
        self._kept.move_to_end(key)
        while len(self._kept) > _MAX_CACHED:
            self._kept.popitem(last=False)


def _key(request: RequestContext) -> bytes:
    """What tells one caller from another; kept as a hash, for secrets are in it."""
    told = (
        request.headers.get("Authorization", ""),
        request.headers.get("Cookie", "") or request.cookies.get(COOKIE, ""),
        request.query.get("access_token", ""),
    )
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).digest()
