"""Events as gRPC messages: hub.v1.Events (hub/grpc/hub.proto), written by hand.

An event's bytes are made once for all who share them, and only its `id` differs, so the fields are
put together here (protobuf's encoding: tag, length, bytes). A frame is a message with one event;
frames one behind the other are a message with all of theirs, since protobuf merges what repeats. So
what waited for a call leaves as one message: the more there is to do, the less an event costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from hub.ports.connections import ConnectionOwner

_PATIENCE_SECONDS: Final = 5.0
_MESSAGE_BYTES: Final = 64 * 1024  # of one message, or one event; clients take 4 MB by default
_EVENTS: Final = b"\x0a"  # number << 3 | 2: what follows has a length
_ID, _EVENT, _CHANNEL, _DATA = (b"\x0a", b"\x12", b"\x1a", b"\x22")
_RETRY_MS: Final = b"\x28"  # number << 3: what follows is a number


class GrpcEventEncoder:
    """Implements ports.Transport."""

    label = "grpc"
    heartbeat = b"\x12\x00"  # an empty Heartbeat, beside the events

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        place = _field(_CHANNEL, channel.encode()) if channel else b""
        return _field(_EVENT, name.encode()) + place + _field(_DATA, data)

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        return _field(_EVENTS, _field(_ID, cursor) + body if cursor else body)

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        return self.frame(body + _RETRY_MS + _varint(retry_ms), cursor)

    def trailer(self, *, reconnect: bool) -> bytes:
        return b""  # the call's status says it


class GrpcWriter:
    """Implements ports.Sink over a call, which takes a message at a time: `pump` writes to it.

    What waits here stands where else a socket's buffer in the kernel stands: it holds
    `buffer_bytes` and what was written last, and until it is full the sink counts as idle.
    on_stuck: is told that it was aborted while the call takes nothing, so that `pump` cannot end.
    """

    def __init__(self, *, buffer_bytes: int, on_stuck: Callable[[], None]) -> None:
        self.owner: ConnectionOwner | None = None
        self.cursor_prefix = b""
        self.is_full = False
        self._buffer_bytes = buffer_bytes
        self._on_stuck = on_stuck
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written_bytes = 0
        self._ended = False
        self._aborted = False
        self._writing = False
        self._arrival: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

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
        """Without what HTTP/2 and gRPC put around the messages."""
        return self._written_bytes

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._waiting_bytes:
            self._patience = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self.abort)
        self._wake()

    def abort(self) -> None:
        if not self._aborted:
            self._ended = self._aborted = True
            self._waiting.clear()
            self._wake()
            if self._writing:
                self._on_stuck()

    async def pump(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Writes what comes, until the sink is closed and everything has left, or is aborted."""
        try:
            while not self._aborted:
                if self._waiting:
                    await self._write_out(write)
                elif self._ended:
                    return
                else:
                    self._arrival = asyncio.get_running_loop().create_future()
                    await self._arrival
        finally:
            self._ended = True
            if self._patience is not None:
                self._patience.cancel()

    async def _write_out(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        frames = b"".join(self._waiting)
        self._waiting.clear()
        for message in messages_in(frames, most_bytes=_MESSAGE_BYTES):
            self._writing = True
            await write(message)
            self._writing = False
            if self._aborted:
                return
            self._wrote(len(message))

    def _wrote(self, count: int) -> None:
        self._waiting_bytes -= count
        self._written_bytes += count
        if self.is_full and self._waiting_bytes <= self._buffer_bytes // 4:
            self.is_full = False
            if self.owner is not None:
                self.owner.on_writable()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def messages_in(frames: bytes, *, most_bytes: int) -> Iterator[bytes]:
    """Frames one behind the other as messages of so many bytes, or of one frame that is larger."""
    begin = at = 0
    while len(frames) - begin > most_bytes:
        end = _end_of_frame(frames, at)
        if at > begin and end - begin > most_bytes:
            yield frames[begin:at]
            begin = at
        at = end
        if at == len(frames):
            break
    yield frames[begin:]


def _end_of_frame(frames: bytes, at: int) -> int:
    """The frame that begins there: a tag, a length in seven bits a byte, the event."""
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
    """Seven bits a byte, the lowest first (protobuf.dev, "Base 128 Varints")."""
    if number < 0x80:
        return _SMALL[number]
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


_SMALL: Final = [bytes([number]) for number in range(0x80)]
