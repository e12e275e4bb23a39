"""WebSocket frames (RFC 6455): encode a server's frames, decode a client's."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MAX_CONTROL_BYTES: Final = 125


class Opcode(enum.IntEnum):
    """The frame types (section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class WebSocketError(ValueError):
    """The client violates the protocol. code: the status of the close frame (section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def encode_frame(op: Opcode, payload: bytes) -> bytes:
    """Return a message in one frame; a server's frames are not masked."""
    length = len(payload)
    if length < 126:
        return b"%c%c%b" % (_FIN | op, length, payload)
    if length < 65536:
        return b"%c\x7e%b%b" % (_FIN | op, length.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (_FIN | op, length.to_bytes(8), payload)


def encode_close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame. The reason is cut to the 123 bytes that fit."""
    return encode_frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode()[:123])


class WebSocketDecoder:
    """An incremental decoder: `feed` takes chunks of any size and yields the complete messages.

    max_message_bytes: the size of a message, all fragments together.
    """

    def __init__(self, *, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._pending = bytearray()  # the unfinished frame
        self._message_type: Opcode | None = None  # of a message that is not complete
        self._fragments = bytearray()  # its payload

    def feed(self, chunk: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield messages and control frames in order.

        Raise WebSocketError; the decoder cannot be used after that.
        """
        self._pending += chunk
        while (frame := self._next_frame()) is not None:
            final, op, payload = frame
            if op >= Opcode.CLOSE:
                yield op, payload
                continue
            if (op is Opcode.CONTINUATION) is (self._message_type is None):
                raise WebSocketError(1002, "the fragments are not in order")
            self._message_type = self._message_type or op
            self._fragments += payload
            if len(self._fragments) > self._max_message_bytes:
                raise WebSocketError(
                    1009, f"a message is longer than {self._max_message_bytes} bytes"
                )
            if final:
                op, message = self._message_type, bytes(self._fragments)
                self._message_type = None
                self._fragments.clear()
                yield op, message

    def _next_frame(self) -> tuple[bool, Opcode, bytes] | None:
        """Return the next frame (final, type, payload), or None while it is not complete."""
        data = self._pending
        if len(data) < 2:
            return None
        final, length, at = bool(data[0] & _FIN), data[1] & 0x7F, 2
        try:
            op = Opcode(data[0] & 0x0F)
        except ValueError:
            raise WebSocketError(1002, "the frame type is not defined") from None
        if data[0] & 0x70:
            raise WebSocketError(1002, "no extension was negotiated")
        if not data[1] & _MASKED:
            raise WebSocketError(1002, "a client must mask its frames")
        if op >= Opcode.CLOSE and (length > _MAX_CONTROL_BYTES or not final):
            raise WebSocketError(
                1002, "a control frame must have at most 125 bytes and no fragments"
            )
        if length > 125:
            size = 2 if length == 126 else 8
            if len(data) < at + size:
                return None
            length, at = int.from_bytes(data[at : at + size]), at + size
        if length > self._max_message_bytes:
            raise WebSocketError(1009, f"a message is longer than {self._max_message_bytes} bytes")
        if len(data) < at + 4 + length:
            return None
        mask, start = data[at : at + 4], at + 4
        payload = _unmask(data[start : start + length], mask)
        del data[: start + length]
        return final, op, payload


def _unmask(payload: bytearray, mask: bytearray) -> bytes:
    """Return the payload without its mask (section 5.3)."""
    length = len(payload)
    if not length:
        return b""
    key = bytes(mask) * (length // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(key[:length])).to_bytes(length)
