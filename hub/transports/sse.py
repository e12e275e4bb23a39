"""Server-sent events over HTTP/1.1: the response and the event encoder.

The response is aiohttp-sse's without its costs: it has no ping task (one timer wheel sends all
heartbeats) and no task per event. After the headers the hub takes the socket over from aiohttp
(socket_writer.py) and writes frames directly into it; the encoder adds the HTTP chunk framing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from hub.core import sse
from hub.transports.response_head import encode_stream_head

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class SseEventEncoder:
    """Implements ports.EventEncoder.

    chunked: whether each event is an HTTP/1.1 chunk; HTTP/1.0 has no chunks. heartbeat: a comment,
    or an event that the clients of another API expect.
    """

    label = "sse"
    encode = staticmethod(sse.encode_event)  # a method would cost each event another call

    def __init__(self, *, chunked: bool = True, heartbeat: bytes = sse.HEARTBEAT) -> None:
        self.frame = _chunked_event if chunked else sse.with_id
        self.heartbeat = self.frame(heartbeat, None)
        self._trailer = b"0\r\n\r\n" if chunked else b""

    def trailer(self, *, reconnect: bool) -> bytes:
        return self._trailer

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self.frame(sse.with_retry(sse.with_id(body, cursor), retry_ms), None)


def _chunked_event(body: bytes, cursor: bytes | None) -> bytes:
    """Return what sse.with_id returns, as an HTTP/1.1 chunk."""
    if not cursor:
        return b"%x\r\n%b\r\n" % (len(body), body)
    return b"%x\r\n%bid: %b\n\n\r\n" % (len(body) + len(cursor) + 5, body[:-1], cursor)


class SseResponse(EventSourceResponse):
    """aiohttp-sse's response without its ping task and its send timeout.

    `_ping_task` is private to aiohttp-sse 3. Its methods `is_connected`, `wait` and
    `stop_streaming` use it, so a future that is never resolved replaces it. A contract test checks
    this.
    """

    def __init__(self) -> None:
        super().__init__(sep="\n", send_timeout=None)
        self.headers.update(HEADERS)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head."""
        if self.prepared:
            return await super().prepare(request)
        head = await self.build_head(request)
        self._req, writer = request, request.writer
        self._payload_writer = writer
        if self.chunked:
            writer.enable_chunking()
        writer._write(head)  # type: ignore[attr-defined]
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        return writer

    async def build_head(self, request: web.BaseRequest) -> bytes:
        """Return the head. The connection closes with the stream; with HTTP/1.0, which has no
        chunks, the close also marks the end of the body.
        """
        self.headers["Connection"] = "close"
        self.force_close()
        version = request.version
        if version >= HttpVersion11:
            self._chunked = True
            self.headers["Transfer-Encoding"] = "chunked"
        await request._prepare_hook(self)
        status_line = f"HTTP/{version.major}.{version.minor} {self.status} {self.reason}"
        return encode_stream_head(status_line, *self.headers.items())
