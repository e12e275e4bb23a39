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
from hub.core.websocket import (
    Opcode,
    WebSocketDecoder,
    WebSocketError,
    encode_close_frame,
    encode_frame,
)
from hub.transports.socket_writer import SocketWriter

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_MESSAGE_BYTES: Final = 256 * 1024
_CLOSE_TIMEOUT_SECONDS: Final = 5.0  # for the client's half of the closing
COME_BACK: Final = 3000
"""Close codes: from here on the client should return, from DO_NOT on it should not."""
DO_NOT: Final = 3500


class WebSocketEventEncoder:
    """Implements ports.Transport."""

    label = "websocket"
    heartbeat = encode_frame(Opcode.PING, b"")

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)[:-1]

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return encode_frame(Opcode.TEXT, ndjson.with_id(body, cursor))

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return encode_frame(Opcode.TEXT, ndjson.with_retry(ndjson.with_id(body, cursor), retry_ms))

    def trailer(self, *, reconnect: bool) -> bytes:
        return encode_close_frame(COME_BACK if reconnect else DO_NOT)


class WebSocketWriter(SocketWriter):
    """A socket whose client speaks: `said` is told of its messages, `answer` writes to it in order
    with its events.
    """

    __slots__ = ("_decoder", "_patience", "on_message", "send_control")

    def __init__(self, transport: asyncio.Transport, *, write_buffer_bytes: int) -> None:
        super().__init__(transport, write_buffer_bytes=write_buffer_bytes)
        self._decoder = WebSocketDecoder(max_message_bytes=_MAX_MESSAGE_BYTES)
        self._patience: asyncio.TimerHandle | None = None  # once it is closed here
        self.on_message: Callable[[bytes], None] = lambda message: None
        self.send_control: Callable[[bytes], None] = self.write

    def close(self) -> None:
        """Says no more, and waits for the client's Close (RFC 6455, section 7.1.1): what it says
        meanwhile would reset the connection, and our last words with it. Nor is our half of the
        connection ended: proxies make an end of both of that.
        """
        if self._patience is not None:
            super().close()
        elif not self.is_closing():
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._transport.abort)
            self.is_closing = _is_closing

    def connection_lost(self, error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        try:
            for op, payload in self._decoder.feed(data):
                if self._patience is None:
                    self._take(op, payload)
                elif op is Opcode.CLOSE:
                    super().close()
                if self._transport.is_closing():
                    return
        except WebSocketError as error:
            self._end(encode_close_frame(error.code, str(error)))

    def _take(self, op: Opcode, payload: bytes) -> None:
        match op:
            case Opcode.TEXT:
                self.on_message(payload)
            case Opcode.BINARY:
                raise WebSocketError(1003, "messages are text")
            case Opcode.PING:
                self.send_control(encode_frame(Opcode.PONG, payload))
            case Opcode.CLOSE:
                self._end(encode_frame(Opcode.CLOSE, payload[:2]))
            case _:
                pass

    def _end(self, last: bytes) -> None:
        self.send_control(last)
        super().close()
        if self.owner is not None:
            self.owner.on_disconnect()


def _is_closing() -> bool:
    return True


def handshake(key: str) -> bytes:
    """The answer to an upgrade (section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def is_valid_key(text: str) -> bool:
    """Whether it is 16 bytes in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False
