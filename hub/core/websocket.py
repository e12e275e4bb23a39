"""WebSocket frames (RFC 6455): those of a server as bytes, those of a client from bytes."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MAX_CONTROL_BYTES: Final = 125


class Opcode(enum.IntEnum):
    """Section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class WebSocketError(ValueError):
    """The client breaks the protocol; `code` goes into the close frame (section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def encode_frame(op: Opcode, payload: bytes) -> bytes:
    """A whole message of a server's, unmasked."""
    length = len(payload)
    if length < 126:
        return b"%c%c%b" % (_FIN | op, length, payload)
    if length < 65536:
        return b"%c\x7e%b%b" % (_FIN | op, length.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (_FIN | op, length.to_bytes(8), payload)


def encode_close_frame(code: int, reason: str = "") -> bytes:
    """The last frame; the reason is cut to what fits."""
    return encode_frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode()[:123])


class WebSocketDecoder:
    """Feed it chunks as they come; it gives the client's messages that became complete.

    max_message_bytes: of all fragments together.
    """

    def __init__(self, *, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._pending = bytearray()
        self._begun: Opcode | None = None  # of a message whose fragments are coming
        self._fragments = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Messages and control frames, in order. Raises WsError; the decoder is of no use then."""
        self._pending += chunk
        while (taken := self._take()) is not None:
            final, op, payload = taken
            if op >= Opcode.CLOSE:
                yield op, payload
                continue
            if (op is Opcode.CONTINUATION) is (self._begun is None):
                raise WebSocketError(1002, "a fragment out of turn")
            self._begun = self._begun or op
            self._fragments += payload
            if len(self._fragments) > self._max_message_bytes:
                raise WebSocketError(
                    1009, f"a message is longer than {self._max_message_bytes} bytes"
                )
            if final:
                op, whole = self._begun, bytes(self._fragments)
                self._begun = None
                self._fragments.clear()
                yield op, whole

    def _take(self) -> tuple[bool, Opcode, bytes] | None:
        """The next frame, once it is whole."""
        data = self._pending
        if len(data) < 2:
            return None
        final, length, at = bool(data[0] & _FIN), data[1] & 0x7F, 2
        try:
            op = Opcode(data[0] & 0x0F)
        except ValueError:
            raise WebSocketError(1002, "there is no such frame") from None
        if data[0] & 0x70:
            raise WebSocketError(1002, "no extension was agreed on")
        if not data[1] & _MASKED:
            raise WebSocketError(1002, "a client's frames are masked")
        if op >= Opcode.CLOSE and (length > _MAX_CONTROL_BYTES or not final):
            raise WebSocketError(1002, "a control frame is short and whole")
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
        payload = _unmasked(data[start : start + length], mask)
        del data[: start + length]
        return final, op, payload


def _unmasked(payload: bytearray, mask: bytearray) -> bytes:
    """Section 5.3."""
    length = len(payload)
    if not length:
        return b""
    key = bytes(mask) * (length // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(key[:length])).to_bytes(length)
