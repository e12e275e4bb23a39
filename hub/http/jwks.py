"""The keys of an identity provider, from its JWK set (RFC 7517).

The hub fetches the set when it needs a key, and keeps it. A token with an unknown key id causes
another fetch, but not before a cool-down: otherwise anybody could make the hub send requests. While
the endpoint is unavailable, the known keys stay valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
import structlog

from hub.api.tokens import VerifyingKey, parse_jwks
from hub.ports.clock import Clock

_MAX_RESPONSE_BYTES: Final = 256 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_log = structlog.get_logger(__name__)


class JwksKeys:
    """Implements KeySource of hub/api/tokens.py.

    refresh_seconds: the age at which the set is fetched again. cool_down_seconds: the minimum time
    between two fetches.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        clock: Clock,
        *,
        refresh_seconds: float = 3600.0,
        cool_down_seconds: float = 30.0,
    ) -> None:
        self._session = session
        self._url = url
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._cool_down_seconds = cool_down_seconds
        self._keys: Sequence[VerifyingKey] = ()  # of the last successful fetch
        self._fetched_at = float("-inf")  # the last successful fetch, by the clock
        self._tried_at = float("-inf")  # the last fetch, by the clock
        self._fetch_lock = asyncio.Lock()  # one fetch at a time

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        keys = self._matching(kid)
        is_stale = self._clock.now() - self._fetched_at > self._refresh_seconds
        if not keys or is_stale:
            async with self._fetch_lock:
                if self._clock.now() - self._tried_at >= self._cool_down_seconds:
                    self._tried_at = self._clock.now()
                    await self._fetch()
            keys = self._matching(kid)
        return keys

    def _matching(self, kid: str | None) -> Sequence[VerifyingKey]:
        return [key for key in self._keys if kid is None or key.kid in (kid, None)]

    async def _fetch(self) -> None:
        try:
            async with self._session.get(
                self._url, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                body = await response.content.read(_MAX_RESPONSE_BYTES)
                if response.status != 200:
                    raise ValueError(f"the endpoint answered {response.status}")
            keys = parse_jwks(msgspec.json.decode(body))
            if not keys:
                raise ValueError("the set contains no usable key")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.warning("jwks.fetch_failed", known_keys=len(self._keys), error=str(error))
            return
        self._keys, self._fetched_at = keys, self._clock.now()
        _log.info("jwks.fetched", keys=len(keys))
