"""Keys from the identity provider's JWK set, fetched when they are needed and kept.

A token that names an unknown key makes the set be fetched again, but not more often than the
cool-down allows, so that nobody can make the hub call out at will. While the endpoint is away the
keys that are known stay good.
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

_MOST_BYTES: Final = 256 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_log = structlog.get_logger(__name__)


class JwksKeys:
    """Implements tokens.KeySource."""

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
        self._keys: Sequence[VerifyingKey] = ()
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        found = self._named(kid)
        stale = self._clock.now() - self._fetched_at > self._refresh_seconds
        if not found or stale:
            async with self._fetching:
                if self._clock.now() - self._tried_at >= self._cool_down_seconds:
                    self._tried_at = self._clock.now()
                    await self._fetch()
            found = self._named(kid)
        return found

    def _named(self, kid: str | None) -> Sequence[VerifyingKey]:
        return [key for key in self._keys if kid is None or key.kid in (kid, None)]

    async def _fetch(self) -> None:
        try:
            async with self._session.get(
                self._url, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                body = await answer.content.read(_MOST_BYTES)
                if answer.status != 200:
                    raise ValueError(f"it answered {answer.status}")
            keys = parse_jwks(msgspec.json.decode(body))
            if not keys:
                raise ValueError("there is no usable key in it")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.warning("jwks.fetch_failed", known=len(self._keys), error=str(error))
            return
        self._keys, self._fetched_at = keys, self._clock.now()
        _log.info("jwks.fetched", keys=len(keys))
