"""WebSocket (RFC 6455): each event is a text message of JSON, and the client may send messages.

A server's frames are not masked, so that an event is the same bytes for many clients, as over SSE.
A heartbeat is a ping, which the client's library answers. Compression is not negotiated.
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
MAX_MESSAGE_BYTES: Final = 256 * 1024
_CLOSE_TIMEOUT_SECONDS: Final = 5.0  # how long to wait for the client's Close
RECONNECT: Final = 3000
"""Close codes: from here on the client should reconnect, from DO_NOT_RECONNECT on it should not."""
DO_NOT_RECONNECT: Final = 3500
_SERVICE_RESTART: Final = 1012  # registered with IANA; OpenAI's SDKs reconnect after it
_POLICY_VIOLATION: Final = 1008


class WebSocketEventEncoder:
    """Implements ports.EventEncoder."""

    label = "websocket"
    heartbeat = encode_frame(Opcode.PING, b"")

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        return ndjson.encode_line(name, data, channel)[:-1]

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return encode_frame(Opcode.TEXT, ndjson.with_id(body, cursor))

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return encode_frame(Opcode.TEXT, ndjson.with_retry(ndjson.with_id(body, cursor), retry_ms))

    def trailer(self, *, reconnect: bool) -> bytes:
        return encode_close_frame(RECONNECT if reconnect else DO_NOT_RECONNECT)


class WebSocketMessageEncoder(WebSocketEventEncoder):
    """Implements ports.EventEncoder for a stream whose view builds the messages itself, because
    another API defines them and one event may become several. It has the close codes that clients
    of other servers know.
    """

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return body

    def trailer(self, *, reconnect: bool) -> bytes:
        return encode_close_frame(_SERVICE_RESTART if reconnect else _POLICY_VIOLATION)


class WebSocketWriter(SocketWriter):
    """Implements ports.ConnectionWriter for a client that sends messages.

    max_message_bytes: the size of one message of the client.
    """

    __slots__ = ("_close_timer", "_decoder", "on_message", "send_control")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        write_buffer_bytes: int,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        super().__init__(transport, write_buffer_bytes=write_buffer_bytes)
        self._decoder = WebSocketDecoder(max_message_bytes=max_message_bytes)
        # Aborts the connection when the client does not close its half; set by `close`.
        self._close_timer: asyncio.TimerHandle | None = None
        self.on_message: Callable[[bytes], None] = lambda message: None  # gets text messages
        # Sends a control frame, in order with the events.
        self.send_control: Callable[[bytes], None] = self.write

    def close(self) -> None:
        """Write nothing more, and wait for the client's Close (RFC 6455, section 7.1.1).

        If the socket were closed now, a message that the client is sending would reset the
        connection, and the last frames would be lost. Closing only our half does not help, because
        proxies then close both.
        """
        if self._close_timer is not None:
            super().close()
        elif not self.is_closing():
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._transport.abort)
            self.is_closing = _is_closing

    def connection_lost(self, error: Exception | None) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        try:
            for op, payload in self._decoder.feed(data):
                if self._close_timer is None:
                    self._on_frame(op, payload)
                elif op is Opcode.CLOSE:
                    super().close()
                if self._transport.is_closing():
                    return
        except WebSocketError as error:
            if self._close_timer is None:
                self._end_with(encode_close_frame(error.code, str(error)))
            else:  # the hub has already sent its Close
                super().close()

    def _on_frame(self, op: Opcode, payload: bytes) -> None:
        match op:
            case Opcode.TEXT:
                self.on_message(payload)
            case Opcode.BINARY:
                raise WebSocketError(1003, "messages must be text")
            case Opcode.PING:
                self.send_control(encode_frame(Opcode.PONG, payload))
            case Opcode.CLOSE:
                self._end_with(encode_frame(Opcode.CLOSE, payload[:2]))
            case _:
                pass

    def _end_with(self, last_frame: bytes) -> None:
        self.send_control(last_frame)
        super().close()
        if self.owner is not None:
            self.owner.on_disconnect()


def _is_closing() -> bool:
    return True


def handshake(key: str) -> bytes:
    """Return the response to an upgrade request (RFC 6455, section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def is_valid_key(text: str) -> bool:
    """Return whether a Sec-WebSocket-Key is 16 bytes in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False
