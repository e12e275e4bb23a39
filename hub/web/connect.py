"""GET /sse/connect/{user_id}: a user's event stream.

What is final (a bad name, cursor or token) is answered with its status; what passes by itself
(draining, the broker away) is answered 200 and ended with `hub.bye`, because a browser never
returns to a stream that was answered with anything but 200.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import msgspec
from aiohttp import HttpVersion11, web

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.cursor import Position, parse_cursor
from hub.core.outbox import Outbox
from hub.engine.connection import Connection
from hub.engine.fanout import Fanout
from hub.ports import FROM_START, Clock
from hub.transports.sse import SseResponse, SseTransport, take_over
from hub.web.auth import Door, topics_of


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take; None means off."""

    retry_ms: int
    max_topics: int
    outbox_max_events: int
    outbox_max_bytes: int
    write_buffer_bytes: int


class ConnectRoutes:
    """The streaming routes of the public listener."""

    def __init__(self, fanout: Fanout, door: Door, clock: Clock, limits: StreamLimits) -> None:
        self._fanout = fanout
        self._door = door
        self._clock = clock
        self._limits = limits
        self._transports = {chunked: SseTransport(chunked=chunked) for chunked in (True, False)}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sse/connect/{user_id}", self.connect, allow_head=False),
            web.get("/sse/connect", self.connect, allow_head=False),
        ]

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Begins the stream, and takes its connection over from aiohttp."""
        identity = self._door.identify(request)
        topics = topics_of(request, identity, most=self._limits.max_topics)
        channels = [user_channel(identity.user), ALL, *map(topic_channel, topics)]
        cursor = _cursor_of(request, channels)
        response = SseResponse()
        try:
            await response.prepare(request)
            sink = take_over(request, write_buffer_bytes=self._limits.write_buffer_bytes)
        except ConnectionResetError:
            return response  # the client left before its stream began
        connection = Connection(
            f"c_{random.getrandbits(64):x}",
            identity.user,
            channels,
            transport=self._transports[request.version >= HttpVersion11],
            sink=sink,
            outbox=Outbox(
                max_frames=self._limits.outbox_max_events, max_bytes=self._limits.outbox_max_bytes
            ),
            clock=self._clock,
            retry_ms=self._limits.retry_ms,
        )
        self._fanout.begin(connection, cursor)
        raise asyncio.CancelledError  # what the taking over has asked aiohttp for: it ends here


def _cursor_of(request: web.Request, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """Where each channel begins; a browser's own reconnect knows better than the URL."""
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor") or "live"
    if text == "live":
        return {}
    if text == "start":
        return dict.fromkeys(channels, FROM_START)
    return parse_cursor(text, channels)
