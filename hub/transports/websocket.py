"""WebSocket (RFC 6455): each event is a text message of JSON; the client may speak, too.

Frames of a server are not masked, so an event is the same bytes for many, as over SSE. A heartbeat
is a ping, which the peer's library answers. Compression is not agreed on.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from typing import Final

from hub.core import ndjson
from hub.core.ws_frames import Op, WsDecoder, WsError, close_frame, frame
from hub.transports.socket_sink import SocketSink

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_MESSAGE_BYTES: Final = 256 * 1024
_PATIENCE_SECONDS: Final = 5.0  # for the client's half of the closing
COME_BACK: Final = 3000
"""Close codes: from here on the client should return, from DO_NOT on it should not."""
DO_NOT: Final = 3500


class WebSocketTransport:
    """Implements ports.Transport."""

    label = "websocket"
    heartbeat = frame(Op.PING, b"")

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)[:-1]

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return frame(Op.TEXT, ndjson.with_id(body, cursor))

    def opening(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return frame(Op.TEXT, ndjson.with_retry(ndjson.with_id(body, cursor), retry_ms))

    def ending(self, *, reconnect: bool) -> bytes:
        return close_frame(COME_BACK if reconnect else DO_NOT)


class WebSocketSink(SocketSink):
    """A socket whose client speaks: `said` is told of its messages, `answer` writes to it in order
    with its events.
    """

    __slots__ = ("_decoder", "_patience", "answer", "said")

    def __init__(self, transport: asyncio.Transport, *, write_buffer_bytes: int) -> None:
        super().__init__(transport, write_buffer_bytes=write_buffer_bytes)
        self._decoder = WsDecoder(max_message_bytes=_MOST_MESSAGE_BYTES)
        self._patience: asyncio.TimerHandle | None = None  # once it is closed here
        self.said: Callable[[bytes], None] = lambda message: None
        self.answer: Callable[[bytes], None] = self.write

    def close(self) -> None:
        """Says no more, and waits for the client's Close (RFC 6455, section 7.1.1): what it says
        meanwhile would reset the connection, and our last words with it. Nor is our half of the
        connection ended: proxies make an end of both of that.
        """
        if self._patience is not None:
            super().close()
        elif not self.gone():
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE_SECONDS, self._transport.abort)
            self.gone = _is_gone

    def connection_lost(self, error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        try:
            for op, payload in self._decoder.feed(data):
                if self._patience is None:
                    self._take(op, payload)
                elif op is Op.CLOSE:
                    super().close()
                if self._transport.is_closing():
                    return
        except WsError as error:
            self._end(close_frame(error.code, str(error)))

    def _take(self, op: Op, payload: bytes) -> None:
        match op:
            case Op.TEXT:
                self.said(payload)
            case Op.BINARY:
                raise WsError(1003, "messages are text")
            case Op.PING:
                self.answer(frame(Op.PONG, payload))
            case Op.CLOSE:
                self._end(frame(Op.CLOSE, payload[:2]))
            case _:
                pass

    def _end(self, last: bytes) -> None:
        self.answer(last)
        super().close()
        if self.owner is not None:
            self.owner.lost()


def _is_gone() -> bool:
    return True


def handshake(key: str) -> bytes:
    """The answer to an upgrade (section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def is_key(text: str) -> bool:
    """Whether it is 16 bytes in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False
