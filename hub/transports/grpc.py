"""Encode events as gRPC messages: hub.v1.Events (hub/grpc/hub.proto), without protobuf's library.

The bytes of an event are encoded once for all connections that share them, and only the `id`
differs. So this module builds the fields itself (protobuf's encoding: tag, length, bytes). A frame
is a message with one event. Several frames in a row are a message with all of their events, because
protobuf merges repeated fields. So all frames that wait for a call are sent as one message: the
higher the load, the less an event costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from hub.ports.connections import ConnectionOwner

_CLOSE_TIMEOUT_SECONDS: Final = 5.0  # how long a closed writer may still send what waits
_MESSAGE_BYTES: Final = 64 * 1024  # of one message, unless one event is larger; clients accept 4 MB
_EVENTS: Final = b"\x0a"  # field number << 3 | 2: a length and bytes follow
_ID, _EVENT, _CHANNEL, _DATA = (b"\x0a", b"\x12", b"\x1a", b"\x22")
_RETRY_MS: Final = b"\x28"  # field number << 3: a number follows


class GrpcEventEncoder:
    """Implements ports.EventEncoder."""

    label = "grpc"
    heartbeat = b"\x12\x00"  # an empty Heartbeat, beside the events

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        channel_field = _field(_CHANNEL, channel.encode()) if channel else b""
        return _field(_EVENT, name.encode()) + channel_field + _field(_DATA, data)

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return _field(_EVENTS, _field(_ID, cursor) + body if cursor else body)

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self.frame(body + _RETRY_MS + _varint(retry_ms), cursor)

    def trailer(self, *, reconnect: bool) -> bytes:
        return b""  # the status of the call replaces it


class GrpcWriter:
    """Implements ports.ConnectionWriter over a call, which takes one message at a time.

    `pump` writes to the call. The frames that wait here take the place of a socket's buffer in the
    kernel: up to `buffer_bytes` plus the last write, and until then the writer counts as drained.
    on_stuck: called when the writer is aborted while the call takes no message, so that `pump`
    cannot end.
    """

    def __init__(self, *, buffer_bytes: int, on_stuck: Callable[[], None]) -> None:
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self.is_full = False
        self._buffer_bytes = buffer_bytes
        self._on_stuck = on_stuck
        self._waiting: list[bytes] = []  # frames that `pump` must still write
        self._waiting_bytes = 0  # also those of the message that is being written
        self._written_bytes = 0
        self._ended = False  # closed or aborted: no more frames are taken
        self._aborted = False  # what waits is dropped
        self._writing = False  # whether `pump` waits for the call to take a message
        self._waiter: asyncio.Future[None] | None = None  # `pump` waits on it for frames
        self._close_timer: asyncio.TimerHandle | None = None  # aborts a closed writer

    @property
    def is_drained(self) -> bool:
        return not self.is_full

    def is_closing(self) -> bool:
        return self._ended

    def try_send(self, frames: bytes) -> int:
        if self.is_full:
            raise BlockingIOError
        self.write(frames)
        return len(frames)

    def write(self, frames: bytes) -> None:
        if self._ended or not frames:
            return
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        self.is_full = self._waiting_bytes >= self._buffer_bytes
        self._wake()

    def sent_bytes(self) -> int | None:
        """Return the size of the messages, without the framing of HTTP/2 and gRPC."""
        return self._written_bytes

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._waiting_bytes:
            self._close_timer = asyncio.get_running_loop().call_later(
                _CLOSE_TIMEOUT_SECONDS, self.abort
            )
        self._wake()

    def abort(self) -> None:
        if not self._aborted:
            self._ended = self._aborted = True
            self._waiting.clear()
            self._wake()
            if self._writing:
                self._on_stuck()

    async def pump(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write frames to the call until the writer is closed and drained, or aborted."""
        try:
            while not self._aborted:
                if self._waiting:
                    await self._write_waiting(write)
                elif self._ended:
                    return
                else:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        finally:
            self._ended = True
            if self._close_timer is not None:
                self._close_timer.cancel()

    async def _write_waiting(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        frames = b"".join(self._waiting)
        self._waiting.clear()
        for message in split_messages(frames, max_bytes=_MESSAGE_BYTES):
            self._writing = True
            await write(message)
            self._writing = False
            if self._aborted:
                return
            self._on_written(len(message))

    def _on_written(self, count: int) -> None:
        self._waiting_bytes -= count
        self._written_bytes += count
        if self.is_full and self._waiting_bytes <= self._buffer_bytes // 4:
            self.is_full = False
            if self.owner is not None:
                self.owner.on_writable()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def split_messages(frames: bytes, *, max_bytes: int) -> Iterator[bytes]:
    """Split frames into messages of at most `max_bytes`, or of one frame that is larger."""
    start = at = 0
    while len(frames) - start > max_bytes:
        end = _end_of_frame(frames, at)
        if at > start and end - start > max_bytes:
            yield frames[start:at]
            start = at
        at = end
        if at == len(frames):
            break
    yield frames[start:]


def _end_of_frame(frames: bytes, at: int) -> int:
    """Return the end of the frame that starts there: a tag, a varint length, the event."""
    size = shift = 0
    more = True
    while more:
        at += 1
        size |= (frames[at] & 0x7F) << shift
        shift += 7
        more = frames[at] >= 0x80
    return at + 1 + size


def _field(tag: bytes, text: bytes) -> bytes:
    return tag + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    """Encode with seven bits a byte, the lowest first (protobuf.dev, "Base 128 Varints")."""
    if number < 0x80:
        return _SMALL[number]
    varint = bytearray()
    while number >= 0x80:
        varint.append(number & 0x7F | 0x80)
        number >>= 7
    varint.append(number)
    return bytes(varint)


_SMALL: Final = [bytes([number]) for number in range(0x80)]
