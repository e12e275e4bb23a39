"""Newline-delimited JSON over HTTP/1.1: the same events, for clients that cannot parse SSE."""

from __future__ import annotations

from hub.core import ndjson

CONTENT_TYPE = "application/x-ndjson"


class NdjsonEventEncoder:
    """Implements ports.Transport. On HTTP/1.1 each event is a chunk, HTTP/1.0 knows no chunks."""

    label = "ndjson"

    def __init__(self, *, chunked: bool = True) -> None:
        self._chunked = chunked
        self.heartbeat = self._framed(ndjson.HEARTBEAT)
        self._ending = b"0\r\n\r\n" if chunked else b""

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return self._framed(ndjson.with_id(body, cursor))

    def trailer(self, *, reconnect: bool) -> bytes:
        return self._ending

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self._framed(ndjson.with_retry(ndjson.with_id(body, cursor), retry_ms))

    def _framed(self, line: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(line), line) if self._chunked else line
