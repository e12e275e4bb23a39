"""Server-sent events over HTTP/1.1: the response, and the encoding.

aiohttp-sse's response class stays, its cost goes: no ping task (one wheel beats for everyone), no
task for each send. After its headers the connection leaves aiohttp (socket_sink.py), and frames go
straight into the socket, framed as HTTP chunks here.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from hub.core import sse

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class SseEventEncoder:
    """Implements ports.Transport. On HTTP/1.1 each event is a chunk, HTTP/1.0 knows no chunks."""

    label = "sse"

    def __init__(self, *, chunked: bool = True) -> None:
        self.frame = _chunked_event if chunked else sse.with_id
        self.heartbeat = self.frame(sse.HEARTBEAT, None)
        self._ending = b"0\r\n\r\n" if chunked else b""

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return sse.encode_event(name, data)

    def trailer(self, *, reconnect: bool) -> bytes:
        return self._ending

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self.frame(sse.with_retry(sse.with_id(body, cursor), retry_ms), None)


def _chunked_event(body: bytes, cursor: bytes | None) -> bytes:
    """with_id, as a chunk of HTTP/1.1."""
    if not cursor:
        return b"%x\r\n%b\r\n" % (len(body), body)
    return b"%x\r\nid: %b\n%b\r\n" % (len(cursor) + len(body) + 5, cursor, body)


class SseResponse(EventSourceResponse):
    """aiohttp-sse's response without its ping task and its send timeout.

    `_ping_task` is private to aiohttp-sse 3; `is_connected`, `wait` and `stop_streaming` look at
    it, so a future that nobody resolves stands in its place. A contract test holds this.
    """

    def __init__(self) -> None:
        super().__init__(sep="\n", send_timeout=None)
        self.headers.update(HEADERS)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends the headers. HTTP/1.0 gets no chunks, and the end of the connection as the end; no
        connection outlives its stream.
        """
        if self.prepared:
            return await super().prepare(request)
        self.headers["Connection"] = "close"
        self.force_close()
        writer = await web.StreamResponse.prepare(self, request)
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        return writer
