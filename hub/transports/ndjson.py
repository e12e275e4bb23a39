"""Newline-delimited JSON over HTTP/1.1, for clients that cannot parse SSE."""

from __future__ import annotations

from hub.core import ndjson

CONTENT_TYPE = "application/x-ndjson"


class NdjsonEventEncoder:
    """Implements ports.EventEncoder.

    chunked: whether each event is an HTTP/1.1 chunk; HTTP/1.0 has no chunks.
    """

    label = "ndjson"

    def __init__(self, *, chunked: bool = True) -> None:
        self._chunked = chunked
        self.heartbeat = self._as_chunk(ndjson.HEARTBEAT)
        self._trailer = b"0\r\n\r\n" if chunked else b""

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return self._as_chunk(ndjson.with_id(body, cursor))

    def trailer(self, *, reconnect: bool) -> bytes:
        return self._trailer

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self._as_chunk(ndjson.with_retry(ndjson.with_id(body, cursor), retry_ms))

    def _as_chunk(self, line: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(line), line) if self._chunked else line
