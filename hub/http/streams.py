"""From an HTTP request to a stream: the response's headers, and the socket taken over from aiohttp.

What does not depend on aiohttp is in hub/api/streams.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NoReturn, Protocol

from aiohttp import HttpVersion11, web

from hub.api.streams import StreamRequest, Streams
from hub.core.close_reason import CloseReason
from hub.core.sse import HEARTBEAT
from hub.engine.streams.connection import Connection
from hub.http.proxy_probe import proxy_probe_headers
from hub.ports.connections import EventEncoder
from hub.transports.held_heads import HeldHeads
from hub.transports.held_writer import HeldWriter
from hub.transports.ndjson import CONTENT_TYPE as NDJSON
from hub.transports.ndjson import NdjsonEventEncoder
from hub.transports.null_writer import NullWriter
from hub.transports.poll import PollEventEncoder, PollWriter
from hub.transports.socket_writer import SocketWriter, take_over, take_over_with
from hub.transports.sse import HEADERS, SseEventEncoder, SseResponse
from hub.transports.websocket import MAX_MESSAGE_BYTES, WebSocketEventEncoder, WebSocketWriter

_POLL_ENCODER: Final = PollEventEncoder()
_WEBSOCKET_ENCODER: Final = WebSocketEventEncoder()


class ClientMessages(Protocol):
    """The receiver of a WebSocket client's messages."""

    def on_message(self, message: bytes) -> None: ...


class HttpStreams:
    """Opens the streams of one HTTP listener. streams: the part that does not depend on HTTP."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self._heads = HeldHeads()
        # By label, and whether the response is chunked. Connections with the same encoder share
        # their frames, so there is one of each.
        self._encoders: dict[tuple[str, bool], EventEncoder] = {}
        for chunked in (True, False):
            self._encoders["sse", chunked] = SseEventEncoder(chunked=chunked)
            self._encoders["ndjson", chunked] = NdjsonEventEncoder(chunked=chunked)

    async def stream(
        self,
        request: web.Request,
        stream: StreamRequest,
        headers: Mapping[str, str] | None = None,
        *,
        always_sse: bool = False,
    ) -> web.StreamResponse:
        """Stream as server-sent events, or as newline-delimited JSON to a client that accepts only
        that.

        always_sse: ignore what the client accepts; some clients accept JSON and expect a stream.
        Return a response when the client disconnected before its stream began; else raise
        CancelledError (see leave_to_hub). Raise TooManyRequests.
        """
        self.streams.check_address(request)
        lines = not always_sse and accepts(request, NDJSON)
        lines = lines and not accepts(request, "text/event-stream")
        response = _unbuffered_response(NDJSON) if lines else SseResponse()
        response.headers.update({**(headers or {}), **proxy_probe_headers(request)})
        writer = await self._take_over(request, response)
        if writer is None:
            return response
        encoder = self._encoders["ndjson" if lines else "sse", request.version >= HttpVersion11]
        connection = self.streams.open_connection(request, stream, encoder=encoder, writer=writer)
        self.streams.attach(connection, stream)
        return leave_to_hub()

    async def stream_when(
        self,
        request: web.Request,
        stream: StreamRequest,
        headers: Mapping[str, str],
        *,
        is_ready: Callable[[], bool],
        refusal: Callable[[], web.Response | None],
        max_hold_seconds: float,
        heartbeat: bytes,
    ) -> web.StreamResponse:
        """Stream as server-sent events, and send the headers only when `is_ready` returns true,
        the stream has ended, or `max_hold_seconds` are over.

        The connection is attached at once, and what it sends meanwhile follows the headers.
        is_ready: is called after each write. refusal: returns the response of a stream that ended
        before it began, or None for the stream itself. heartbeat: the bytes of a heartbeat.
        Returns and raises as `stream`.
        """
        self.streams.check_address(request)
        held = HeldWriter(self.streams.limits.write_buffer_bytes)
        encoder = self._sse_encoder(heartbeat, chunked=request.version >= HttpVersion11)
        connection = self.streams.open_connection(request, stream, encoder=encoder, writer=held)
        self.streams.attach(connection, stream)
        writer = None
        try:
            await _wait_held(connection, held, is_ready, max_hold_seconds)
            if (refused := refusal()) is not None:
                return refused
            response = SseResponse()
            response.headers.update({**headers, **proxy_probe_headers(request)})
            writer = await self._take_over(request, response)
            if writer is None:
                return response
        finally:
            if writer is None:
                connection.on_disconnect()
        held.move_to(writer)
        connection.replace_writer(writer)
        return leave_to_hub()

    async def wait_for_end(self, request: web.Request, stream: StreamRequest) -> CloseReason:
        """Follow the stream for a client that gets one response at its end. Return the reason.

        Raise TooManyRequests, and CancelledError when the client has disconnected.
        """
        self.streams.check_address(request)
        connection = self.streams.open_connection(
            request, stream, encoder=self._encoders["sse", False], writer=NullWriter()
        )
        return await self.streams.attach_and_wait(connection, stream)

    async def upgrade(
        self,
        request: web.Request,
        stream: StreamRequest,
        *,
        handshake: bytes,
        new_session: Callable[[Connection], ClientMessages],
        encoder: EventEncoder = _WEBSOCKET_ENCODER,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> web.StreamResponse:
        """Stream over WebSocket.

        handshake: the response to the upgrade request. new_session: makes the receiver of the
        client's messages. max_message_bytes: the size of one of them. Returns and raises as
        `stream`.
        """
        self.streams.check_address(request)
        try:
            writer = take_over_with(
                partial(WebSocketWriter, max_message_bytes=max_message_bytes),
                request,
                write_buffer_bytes=self.streams.limits.write_buffer_bytes,
            )
        except ConnectionResetError:
            return web.Response()
        writer.write(handshake)
        connection = self.streams.open_connection(request, stream, encoder=encoder, writer=writer)
        writer.send_control = connection.send_frame
        writer.on_message = new_session(connection).on_message
        self.streams.attach(connection, stream)
        return leave_to_hub()

    async def poll(
        self, request: web.Request, stream: StreamRequest, *, cursor: bytes, wait_seconds: float
    ) -> web.StreamResponse:
        """Send one response, when there are events or `wait_seconds` are over.

        cursor: what the client sent; the response repeats it when the log was not read. Without one
        it is `live`, which comes only with a `hub.bye`: a wait lasts at least until the position is
        known. Returns and raises as `stream`.
        """
        self.streams.check_address(request)
        response = _unbuffered_response("application/json")
        socket = await self._take_over(request, response)
        if socket is None:
            return response
        writer = PollWriter(socket, chunked=request.version >= HttpVersion11)
        connection = self.streams.open_connection(
            request, stream, encoder=_POLL_ENCODER, writer=writer
        )
        writer.cursor = lambda: connection.cursor() or cursor or b"live"
        writer.on_complete = partial(connection.close, CloseReason.POLLED)
        self.streams.attach_poll(connection, stream, wait_seconds)
        return leave_to_hub()

    def _sse_encoder(self, heartbeat: bytes, *, chunked: bool) -> EventEncoder:
        """Return the encoder of server-sent events with this heartbeat."""
        key = ("sse" if heartbeat == HEARTBEAT else f"sse {heartbeat.decode()}", chunked)
        encoder = self._encoders.get(key)
        if encoder is None:
            encoder = SseEventEncoder(chunked=chunked, heartbeat=heartbeat)
            self._encoders[key] = encoder
        return encoder

    async def _take_over(
        self, request: web.Request, response: web.StreamResponse
    ) -> SocketWriter | None:
        """Take the socket over, and send the headers: those of server-sent events together with
        the first events. Return None when the client has disconnected.
        """
        head = b""
        try:
            if isinstance(response, SseResponse):
                head = await response.build_head(request)
            else:
                await response.prepare(request)
            writer = take_over(request, write_buffer_bytes=self.streams.limits.write_buffer_bytes)
        except ConnectionResetError:
            return None
        if head:
            self._heads.hold(writer, head)
        return writer


async def _wait_held(
    connection: Connection, held: HeldWriter, is_ready: Callable[[], bool], seconds: float
) -> None:
    try:
        async with asyncio.timeout(seconds):
            while connection.close_reason is None and not is_ready():
                await held.wait_change()
    except TimeoutError:
        pass  # the stream begins with heartbeats


def leave_to_hub() -> NoReturn:
    """End the handler of a request whose socket was taken over.

    aiohttp was told that the connection is lost, and has asked for the cancellation of this
    handler's task; it expects CancelledError from it. A handler that returned a response would make
    aiohttp write it to the socket, which belongs to the hub now.
    """
    raise asyncio.CancelledError


def accepts(request: web.Request, content_type: str) -> bool:
    """Return whether the client accepts a content type by its name; wildcards do not count."""
    accepted = ",".join(request.headers.getall("Accept", ())).split(",")
    return any(each.partition(";")[0].strip().lower() == content_type for each in accepted)


def _unbuffered_response(content_type: str) -> web.StreamResponse:
    """Return a response that proxies do not buffer, and whose connection ends with it."""
    headers = {**HEADERS, "Content-Type": content_type, "Connection": "close"}
    response = web.StreamResponse(headers=headers)
    response.force_close()
    return response
