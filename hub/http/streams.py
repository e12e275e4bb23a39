"""From a request to a stream: the headers, and the connection taken over from aiohttp."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from aiohttp import HttpVersion11, web

from hub.api.authentication import Identity
from hub.api.client_address import ClientAddresses
from hub.api.request_context import RequestContext
from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position, parse_cursor
from hub.core.outbox import Outbox
from hub.engine.connection import Connection
from hub.engine.connections import Connections
from hub.engine.expiry import ConnectionExpiry
from hub.errors import TooManyRequests
from hub.http.proxy_probe import proxy_probe_headers
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionWriter, EventEncoder
from hub.ports.events import FROM_START
from hub.transports.ndjson import CONTENT_TYPE as NDJSON
from hub.transports.ndjson import NdjsonEventEncoder
from hub.transports.null_writer import NullWriter
from hub.transports.poll import PollConnection, PollEventEncoder, PollWriter
from hub.transports.socket_writer import SocketWriter, take_over, take_over_with
from hub.transports.sse import HEADERS, SseEventEncoder, SseResponse
from hub.transports.websocket import WebSocketEventEncoder, WebSocketWriter

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


class ClientMessages(Protocol):
    """Who hears what a client says."""

    def on_message(self, message: bytes) -> None: ...


class Streams:
    """Begins streams."""

    def __init__(
        self, fanout: Connections, clock: Clock, limits: StreamLimits, addresses: ClientAddresses
    ) -> None:
        self.limits = limits
        self._addresses = addresses
        self._fanout = fanout
        self._clock = clock
        self._transports: dict[tuple[str, bool], EventEncoder] = {}
        for chunked in (True, False):
            self._transports["sse", chunked] = SseEventEncoder(chunked=chunked)
            self._transports["ndjson", chunked] = NdjsonEventEncoder(chunked=chunked)
        self._polling = PollEventEncoder()
        self._websocket = WebSocketEventEncoder()

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

        A client that accepts newline-delimited JSON and no SSE gets that.
        """
        lines = not accepts(request, "text/event-stream") and accepts(request, NDJSON)
        response = _lines_response(NDJSON) if lines else SseResponse()
        response.headers.update({**(headers or {}), **proxy_probe_headers(request)})
        label = "ndjson" if lines else "sse"
        return await self._begin(label, response, request, identity, cursor, connection)

    async def begin_sse(
        self,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
        headers: Mapping[str, str],
    ) -> web.StreamResponse:
        """The same whatever the client accepts: some ask for JSON and mean a stream."""
        response = SseResponse()
        response.headers.update({**headers, **proxy_probe_headers(request)})
        return await self._begin("sse", response, request, identity, cursor, connection)

    async def _begin(  # noqa: PLR0917 - what begin and begin_sse were given
        self,
        label: str,
        response: web.StreamResponse,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
    ) -> web.StreamResponse:
        sink = await self._taken_over(request, response)
        if sink is None:
            return response  # the client left before its stream began
        chunked = request.version >= HttpVersion11
        parts = {
            "encoder": self._transports[label, chunked],
            "writer": sink,
            **self._parts(request, identity),
        }
        self._fanout.attach(connection(_name(), **parts), cursor, self._expiry(identity))
        raise asyncio.CancelledError  # what the taking over has asked aiohttp for: it ends here

    def check_capacity(self, caller: RequestContext) -> None:
        """Raises NodeBusy, for clients that understand a status better than a stream that ends, and
        TooMany.
        """
        self._fanout.check_capacity()
        self.check_address(caller)

    def check_address(self, caller: RequestContext) -> None:
        """Raises TooMany where a stream would; before a question, so that none is asked whose
        answer the caller cannot be shown.
        """
        most = self.limits.max_per_address
        if most is not None and self._fanout.count_at_address(self._addresses.of(caller)) >= most:
            raise TooManyRequests(
                f"there are {most} streams from this address",
                limit="address",
                retry_after_seconds=_RETRY_SECONDS,
            )

    async def attach_and_wait(
        self,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
    ) -> CloseReason:
        """The same for a client that is told nothing until the end: why that came. Raises
        CancelledError when the client has left.
        """
        self.check_address(request)
        parts = {
            "encoder": self._transports["sse", False],
            "writer": NullWriter(),
            **self._parts(request, identity),
        }
        return await self._fanout.attach_and_wait(connection(_name(), **parts), cursor)

    async def upgrade(
        self,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
        *,
        greeting: bytes,
        session: Callable[[Connection], ClientMessages],
    ) -> web.StreamResponse:
        """The same over WebSocket: `greeting` is the answer to the upgrade, `session(connection)`
        is told what the client says.
        """
        self.check_address(request)
        try:
            sink = take_over_with(
                WebSocketWriter, request, write_buffer_bytes=self.limits.write_buffer_bytes
            )
        except ConnectionResetError:
            return web.Response()
        sink.write(greeting)
        parts = {"encoder": self._websocket, "writer": sink, **self._parts(request, identity)}
        made = connection(_name(), **parts)
        sink.send_control, sink.on_message = made.send_frame, session(made).on_message
        self._fanout.attach(made, cursor, self._expiry(identity))
        raise asyncio.CancelledError

    async def set_topics(self, connection: Connection, topics: Sequence[Channel]) -> None:
        """The connection follows these topics' channels, beside its own and `all`, from now on."""
        await self._fanout.set_channels(connection, [*connection.channels[:2], *topics])

    async def poll(
        self,
        request: web.Request,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., PollConnection],
        wait_seconds: float,
    ) -> web.StreamResponse:
        """The same for one answer, when there is something to say or the wait is over."""
        response = _lines_response("application/json")
        socket = await self._taken_over(request, response)
        if socket is None:
            return response
        chunked = request.version >= HttpVersion11
        parts = {
            "encoder": self._polling,
            "writer": PollWriter(socket, chunked=chunked),
            "at_once": wait_seconds <= 0,
            **self._parts(request, identity),
        }
        over = ConnectionExpiry(until=self._clock.now() + wait_seconds, reason=CloseReason.POLLED)
        self._fanout.attach(connection(_name(), **parts), cursor, over)
        raise asyncio.CancelledError

    def attach(
        self,
        caller: RequestContext,
        identity: Identity,
        cursor: Cursor,
        connection: Callable[..., Connection],
        *,
        transport: EventEncoder,
        sink: ConnectionWriter,
    ) -> Connection:
        """The same on a sink of the caller's own: begins the life of what `connection(name,
        **parts)` makes, and returns it. Raises TooMany.
        """
        self.check_address(caller)
        parts = {"encoder": transport, "writer": sink, **self._parts(caller, identity)}
        made = connection(_name(), **parts)
        self._fanout.attach(made, cursor, self._expiry(identity))
        return made

    async def _taken_over(
        self, request: web.Request, response: web.StreamResponse
    ) -> SocketWriter | None:
        """The connection, once the headers are on their way; None when the client has left."""
        self.check_address(request)
        try:
            await response.prepare(request)
            return take_over(request, write_buffer_bytes=self.limits.write_buffer_bytes)
        except ConnectionResetError:
            return None

    def _parts(self, request: RequestContext, identity: Identity) -> dict[str, Any]:
        return {
            "outbox": Outbox(
                max_frames=self.limits.outbox_max_events, max_bytes=self.limits.outbox_max_bytes
            ),
            "clock": self._clock,
            "retry_ms": self.limits.retry_ms,
            "token_id": identity.token_id,
            "address": self._addresses.of(request),
        }

    def _expiry(self, identity: Identity) -> ConnectionExpiry | None:
        """As long as the token is good, and no longer than any connection may live: a tenth less
        or so, so that those who came together do not leave together.
        """
        now, found = self._clock.now(), list[ConnectionExpiry]()
        if self.limits.max_age_seconds is not None:
            age = self.limits.max_age_seconds * random.uniform(0.9, 1.0)
            found.append(ConnectionExpiry(until=now + age, reason=CloseReason.TOO_OLD))
        if identity.expires_at is not None:
            until = now + identity.expires_at - time.time()
            notice_at = max(now, until - self.limits.expiry_notice_seconds)
            found.append(
                ConnectionExpiry(until=until, reason=CloseReason.EXPIRED, notice_at=notice_at)
            )
        return min(found, key=lambda lifetime: lifetime.until, default=None)


def accepts(request: web.Request, content_type: str) -> bool:
    """Whether the client accepts a type by its name."""
    accepted = ",".join(request.headers.getall("Accept", ())).split(",")
    return any(each.partition(";")[0].strip().lower() == content_type for each in accepted)


def _lines_response(content_type: str) -> web.StreamResponse:
    """A response that no proxy holds back, whose connection ends with it."""
    headers = {**HEADERS, "Content-Type": content_type, "Connection": "close"}
    response = web.StreamResponse(headers=headers)
    response.force_close()
    return response


def _name() -> str:
    return f"c_{random.getrandbits(64):x}"


def requested_cursor(request: web.Request, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """Where each channel begins; a browser's own reconnect knows better than the URL."""
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor") or "live"
    return parse_requested_cursor(text, channels)


def parse_requested_cursor(text: str, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """The same from its text, or `live`, or `start`."""
    if text == "live":
        return {}
    if text == "start":
        return dict.fromkeys(channels, FROM_START)
    return parse_cursor(text, channels)
