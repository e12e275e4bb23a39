"""Server-sent events over HTTP/1.1: the response, the bytes' way into the socket, the encoding.

aiohttp-sse's response class stays, its cost goes: no ping task (one wheel beats for everyone), no
task for each send. Frames go straight to the transport, framed as HTTP chunks here; nothing else
writes to the response between its headers and its end.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from hub.core import sse

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class SseTransport:
    """Implements ports.Transport."""

    label = "sse"
    heartbeat = sse.HEARTBEAT

    def encode(self, name: str, data: bytes) -> bytes:
        return sse.encode_event(name, data)

    frame = staticmethod(sse.with_id)

    def opening(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return sse.with_retry(sse.with_id(body, cursor), retry_ms)


class SseResponse(EventSourceResponse):
    """aiohttp-sse's response without its ping task and its send timeout.

    `_ping_task` is private to aiohttp-sse 3; `is_connected`, `wait` and `stop_streaming` look at
    it, so a future that nobody resolves stands in its place. A contract test holds this.
    """

    def __init__(self) -> None:
        super().__init__(sep="\n", send_timeout=None)
        self.headers.update(HEADERS)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends the headers. HTTP/1.0 gets no chunks, and the end of the connection as the end."""
        if self.prepared:
            return await super().prepare(request)
        if request.version < HttpVersion11:
            self.headers["Connection"] = "close"
            self.force_close()
        writer = await web.StreamResponse.prepare(self, request)
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        return writer


class WriteBatch:
    """What is written in one tick of the loop leaves at its end, in one write for each socket."""

    def __init__(self) -> None:
        self._sinks: list[SseSink] = []

    def add(self, sink: SseSink) -> None:
        """The sink has something to send."""
        if not self._sinks:
            asyncio.get_running_loop().call_soon(self._flush)
        self._sinks.append(sink)

    def _flush(self) -> None:
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.flush()


class SseSink:
    """Implements ports.Sink on a prepared response's socket."""

    def __init__(
        self,
        request: web.Request,
        writer: AbstractStreamWriter,
        batch: WriteBatch,
        *,
        write_buffer_bytes: int,
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before its stream began")
        self._transport = transport
        self._protocol = request.protocol
        self._writer = writer
        self._batch = batch
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._most_unsent_bytes = write_buffer_bytes
        self._chunked = request.version >= HttpVersion11
        transport.set_write_buffer_limits(write_buffer_bytes, write_buffer_bytes // 4)

    @property
    def paused(self) -> bool:
        return self._protocol.writing_paused

    def write(self, frame: bytes) -> None:
        unsent = self._unsent
        if not unsent:
            self._batch.add(self)
        unsent.append(frame)
        self._unsent_bytes += len(frame)
        if self._unsent_bytes >= self._most_unsent_bytes:
            self.flush()  # the batch then finds nothing more, or what came since

    def flush(self) -> None:
        """Hands what was written to the socket."""
        unsent = self._unsent
        if not unsent:
            return
        frames = unsent[0] if len(unsent) == 1 else b"".join(unsent)
        unsent.clear()
        self._unsent_bytes = 0
        transport = self._transport
        if transport.is_closing():
            return
        if self._chunked:
            frames = b"%x\r\n%b\r\n" % (len(frames), frames)
        transport.write(frames)

    async def drain(self) -> None:
        self.flush()
        await self._writer.drain()
        # A socket that was lost while it was full stays paused in aiohttp, and its drain returns at
        # once: who waits for room in a loop would never let another task run.
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")

    def abort(self) -> None:
        self._transport.abort()
