"""WebSocket frames (RFC 6455): encode a server's frames, decode a client's."""

from __future__ import annotations

import codecs
import enum
from collections.abc import Iterator
from typing import Final

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MAX_CONTROL_BYTES: Final = 125
_LENGTH_BYTES: Final = {126: 2, 127: 8}  # of an extended length
# Of the codes below 3000, a frame may contain those that the RFC and the registry of IANA define;
# 1004, 1005, 1006 and 1015 are reserved (section 7.4).
_SENDABLE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


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

    The text of messages and the reason of a Close are valid UTF-8, and the code of a Close is one
    that a frame may contain. Each violation is reported with the first frame that shows it.

    max_message_bytes: the size of a message, all fragments together.
    """

    def __init__(self, *, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._pending = bytearray()  # the unfinished frame
        self._message_type: Opcode | None = None  # of a message that is not complete
        self._fragments = bytearray()  # its payload
        self._utf8 = codecs.getincrementaldecoder(
            "utf-8"
        )()  # its text, which may split a character

    def feed(self, chunk: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield messages and control frames in order.

        Raise WebSocketError; the decoder cannot be used after that.
        """
        self._pending += chunk
        while (frame := self._next_frame()) is not None:
            final, op, payload = frame
            if op >= Opcode.CLOSE:
                if op is Opcode.CLOSE:
                    _check_close(payload)
                yield op, payload
                continue
            self._message_type = self._message_type or op
            if self._message_type is Opcode.TEXT:
                self._check_text(payload, final=final)
            self._fragments += payload
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
        final, op = self._check_head(data[0], data[1])
        length, at = data[1] & 0x7F, 2
        if size := _LENGTH_BYTES.get(length):
            if len(data) < at + size:
                return None
            length, at = int.from_bytes(data[at : at + size]), at + size
            _check_extended_length(length, size)
        if len(self._fragments) * (op < Opcode.CLOSE) + length > self._max_message_bytes:
            raise WebSocketError(1009, f"a message is longer than {self._max_message_bytes} bytes")
        if len(data) < at + 4 + length:
            return None
        mask, start = data[at : at + 4], at + 4
        payload = _unmask(data[start : start + length], mask)
        del data[: start + length]
        return final, op, payload

    def _check_head(self, first: int, second: int) -> tuple[bool, Opcode]:
        """Check the first two bytes of a frame (section 5.2); return whether it is final, and its
        type.
        """
        final = bool(first & _FIN)
        try:
            op = Opcode(first & 0x0F)
        except ValueError:
            raise WebSocketError(1002, "the frame type is not defined") from None
        if first & 0x70:
            raise WebSocketError(1002, "no extension was negotiated")
        if not second & _MASKED:
            raise WebSocketError(1002, "a client must mask its frames")
        if op >= Opcode.CLOSE:
            if second & 0x7F > _MAX_CONTROL_BYTES or not final:
                raise WebSocketError(
                    1002, "a control frame must have at most 125 bytes and no fragments"
                )
        elif (op is Opcode.CONTINUATION) is (self._message_type is None):
            raise WebSocketError(1002, "the fragments are not in order")
        return final, op

    def _check_text(self, payload: bytes, *, final: bool) -> None:
        try:
            self._utf8.decode(payload, final)
        except UnicodeDecodeError:
            raise WebSocketError(1007, "the text of a message must be UTF-8") from None


def _check_extended_length(length: int, size: int) -> None:
    """Check a length of 2 or 8 bytes: it has no sign, and no shorter form (section 5.2)."""
    if length >= 1 << 63:
        raise WebSocketError(1002, "the first bit of a length of 8 bytes must be 0")
    if length < (126 if size == 2 else 65536):
        raise WebSocketError(1002, "a length must have its shortest form")


def _check_close(payload: bytes) -> None:
    """Check the payload of a Close: nothing, or a code and a reason (sections 5.5.1, 7.4)."""
    if not payload:
        return
    if len(payload) < 2 or int.from_bytes(payload[:2]) not in _SENDABLE_CODES:
        raise WebSocketError(1002, "a Close must have no payload, or begin with a valid code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise WebSocketError(1007, "the reason of a Close must be UTF-8") from None


def _unmask(payload: bytearray, mask: bytearray) -> bytes:
    """Return the payload without its mask (section 5.3)."""
    length = len(payload)
    if not length:
        return b""
    key = bytes(mask) * (length // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(key[:length])).to_bytes(length)
