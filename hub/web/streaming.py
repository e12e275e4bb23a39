"""From a request to a stream: the headers, and the connection taken over from aiohttp."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import HttpVersion11, web

from hub.core.channel import Channel
from hub.core.close import CloseReason
from hub.core.cursor import Position, parse_cursor
from hub.core.outbox import Outbox
from hub.engine.connection import Connection
from hub.engine.fanout import Fanout
from hub.engine.lifetimes import Lifetime
from hub.errors import TooMany
from hub.ports import FROM_START, Clock
from hub.transports.sse import SseResponse, SseTransport, take_over
from hub.web.addresses import Addresses
from hub.web.auth import Identity

_RETRY_SECONDS: Final = 10
Cursor = Mapping[Channel, Position]


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take; None means off."""

    retry_ms: int
    max_topics: int
    outbox_max_events: int
    outbox_max_bytes: int
    write_buffer_bytes: int
    max_age_seconds: float | None = None
    expiry_notice_seconds: float = 30.0
    max_per_address: int | None = None


class Streams:
    """Begins server-sent event streams."""

    def __init__(
        self, fanout: Fanout, clock: Clock, limits: StreamLimits, addresses: Addresses
    ) -> None:
        self.limits = limits
        self._addresses = addresses
        self._fanout = fanout
        self._clock = clock
        self._transports = {chunked: SseTransport(chunked=chunked) for chunked in (True, False)}

    async def begin(
        self,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
        headers: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        """Sends the headers and begins the life of what `connection(name, **parts)` makes; raises
        CancelledError then, since the request is over for aiohttp.
        """
        address = self._addresses.of(request)
        most = self.limits.max_per_address
        if most is not None and self._fanout.at_address(address) >= most:
            raise TooMany(
                f"there are {most} streams from this address", retry_after_seconds=_RETRY_SECONDS
            )
        response = SseResponse()
        response.headers.update(headers or {})
        try:
            await response.prepare(request)
            sink = take_over(request, write_buffer_bytes=self.limits.write_buffer_bytes)
        except ConnectionResetError:
            return response  # the client left before its stream began
        parts: dict[str, Any] = {
            "transport": self._transports[request.version >= HttpVersion11],
            "sink": sink,
            "outbox": Outbox(
                max_frames=self.limits.outbox_max_events, max_bytes=self.limits.outbox_max_bytes
            ),
            "clock": self._clock,
            "retry_ms": self.limits.retry_ms,
            "token_id": identity.token_id,
            "address": address,
        }
        made = connection(f"c_{random.getrandbits(64):x}", **parts)
        self._fanout.begin(made, cursor, self._lifetime(identity))
        raise asyncio.CancelledError  # what the taking over has asked aiohttp for: it ends here

    def _lifetime(self, identity: Identity) -> Lifetime | None:
        """As long as the token is good, and no longer than any connection may live: a tenth less
        or so, so that those who came together do not leave together.
        """
        now, found = self._clock.now(), list[Lifetime]()
        if self.limits.max_age_seconds is not None:
            age = self.limits.max_age_seconds * random.uniform(0.9, 1.0)
            found.append(Lifetime(until=now + age, reason=CloseReason.TOO_OLD))
        if identity.expires_at is not None:
            until = now + identity.expires_at - time.time()
            notice_at = max(now, until - self.limits.expiry_notice_seconds)
            found.append(Lifetime(until=until, reason=CloseReason.EXPIRED, notice_at=notice_at))
        return min(found, key=lambda lifetime: lifetime.until, default=None)


def cursor_of(request: web.Request, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """Where each channel begins; a browser's own reconnect knows better than the URL."""
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor") or "live"
    if text == "live":
        return {}
    if text == "start":
        return dict.fromkeys(channels, FROM_START)
    return parse_cursor(text, channels)
