"""The keys of an identity provider, from its JWK set (RFC 7517).

The hub fetches the set when it needs a key, and keeps it. Rules:

1. A token with an unknown key id causes another fetch, but not before a cool-down: otherwise any
   client could make the hub send requests.
2. While the endpoint is unavailable, the known keys stay valid. A token with another key cannot be
   judged, and the next fetch follows after one second, not after the cool-down.
3. A request whose key is known never waits for a fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
import structlog

from hub.api.verifying_keys import VerifyingKey, parse_jwks
from hub.engine.tasks import BackgroundTasks
from hub.errors import KeySetUnavailable
from hub.http.response_body import read_response_body
from hub.ports.clock import Clock

_MAX_RESPONSE_BYTES: Final = 256 * 1024
_RETRY_SECONDS: Final = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_log = structlog.get_logger(__name__)


class JwksKeys:
    """Implements KeySource of hub/api/tokens.py.

    proxy: the URL of an HTTP proxy.
    refresh_seconds: the age at which the set is fetched again. cool_down_seconds: the minimum time
    from a successful fetch to the next one.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        clock: Clock,
        *,
        proxy: str | None = None,
        refresh_seconds: float = 3600.0,
        cool_down_seconds: float = 30.0,
    ) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._cool_down_seconds = cool_down_seconds
        self._keys: Sequence[VerifyingKey] = ()  # of the last successful fetch
        self._fetched_at = float("-inf")  # the last successful fetch, by the clock
        self._failed_at = float("-inf")  # the end of the last failed fetch, by the clock
        self._fetch_lock = asyncio.Lock()  # one fetch at a time
        self._background_tasks = BackgroundTasks()

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        if keys := self._matching(kid):
            is_stale = self._clock.now() - self._fetched_at > self._refresh_seconds
            if is_stale and not self._fetch_lock.locked():
                self._background_tasks.run("refresh key set", self._refresh())
            return keys
        await self._refresh()
        keys = self._matching(kid)
        if not keys and self._failed_at > self._fetched_at:
            raise KeySetUnavailable("the keys of the identity provider are unavailable; try again")
        return keys

    def _matching(self, kid: str | None) -> Sequence[VerifyingKey]:
        return [key for key in self._keys if kid is None or key.kid in (kid, None)]

    async def _refresh(self) -> None:
        """Fetch the set, unless it was just fetched, also by the request that was waited for."""
        async with self._fetch_lock:
            now = self._clock.now()
            if (
                now - self._fetched_at >= self._cool_down_seconds
                and now - self._failed_at >= _RETRY_SECONDS
            ):
                await self._fetch()

    async def _fetch(self) -> None:
        try:
            async with self._session.get(
                self._url, timeout=_TIMEOUT, allow_redirects=False, proxy=self._proxy
            ) as response:
                body = await read_response_body(response, _MAX_RESPONSE_BYTES)
                if response.status != 200:
                    raise ValueError(f"the endpoint answered {response.status}")
            keys = parse_jwks(msgspec.json.decode(body))
            if not keys:
                raise ValueError("the set contains no usable key")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            self._failed_at = self._clock.now()
            _log.warning(
                "jwks.fetch_failed",
                known_keys=len(self._keys),
                error=type(error).__name__,
                reason=str(error) if type(error) is ValueError else "",
            )
            return
        self._keys, self._fetched_at = keys, self._clock.now()
        _log.info("jwks.fetched", keys=len(keys))
