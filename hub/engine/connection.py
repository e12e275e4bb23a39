"""One live client: what it has been sent, and what it must be sent next.

Rules:
1. Everything that is written goes through `_send`; there is one writer to the sink.
2. `positions` is where the client stands: exactly the events up to there have been handed over.
   `_parts` holds the same as text, a channel's part of the cursor each, in the cursor's order.
3. While it is held (joining, or filling a gap) live events wait in `_held`, bounded; what does not
   fit is not lost, since `release` then says that the log must be read again.
4. After `close` nothing is written but what was queued before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from hub.core.channel import Channel
from hub.core.close import CloseReason
from hub.core.cursor import Position, format_part
from hub.core.event import Event, encode_json
from hub.core.outbox import Outbox
from hub.ports import Clock, Sink, Transport

_MOST_HELD: Final = 256
_MOST_HELD_BYTES: Final = 1024 * 1024
_REPLAY_BYTES: Final = 16 * 1024


class Connection:
    """A client that follows `channels`, in cursor order, over one transport."""

    def __init__(
        self,
        name: str,
        user: str,
        channels: Sequence[Channel],
        *,
        transport: Transport,
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        retry_ms: int,
    ) -> None:
        self.name = name
        self.user = user
        self.channels = channels
        self.transport = transport
        self.positions: dict[Channel, Position] = {}
        self._parts = dict.fromkeys(channels, b"")
        self.events = 0  # events handed over, for the log line at the end
        self.written_at = clock.now()  # when the last byte went out; the heartbeat wheel reads it
        self.on_gap: Callable[[Connection], None] = lambda connection: None
        self._sink = sink
        self._frame = transport.frame
        self._outbox = outbox
        self._now = clock.now
        self._retry_ms = retry_ms
        self._held: deque[tuple[Event, bytes, bytes]] | None = deque()
        self._held_bytes = 0
        self._missed = False  # an event did not fit into _held
        self._closed: CloseReason | None = None
        self._flowing = False  # neither held nor closed
        self._wake = asyncio.Event()  # there is something to flush, or the end

    def __repr__(self) -> str:
        state = self._closed.label if self._closed else "held" if self.is_held else "live"
        return f"<Connection {self.name} of {self.user} {state}>"

    @property
    def is_held(self) -> bool:
        """Whether live events wait."""
        return self._held is not None

    @property
    def waiting(self) -> int:
        """How many frames wait for the socket."""
        return len(self._outbox)

    @property
    def closed(self) -> CloseReason | None:
        """Why it was closed, once it is."""
        return self._closed

    def stand(self, channel: Channel, position: Position) -> None:
        """The client stands here now."""
        self.positions[channel] = position
        self._parts[channel] = format_part(channel, position).encode()

    def offer(self, event: Event, body: bytes, part: bytes, now: float) -> None:
        """A live event of a channel that it follows, encoded by its transport; `part` is its
        position as part of a cursor.

        The inner loop of the node: the plain case (live, the next event, room in the socket) is
        written out here, the others are `_take`'s and `_send`'s.
        """
        position, sink = event.position, self._sink
        if self._flowing and position is not None and not self._outbox.frames and not sink.paused:
            channel = event.channel
            at = self.positions[channel]
            if position[1] == at[1] + 1 and position[0] == at[0]:
                self.positions[channel] = position
                parts = self._parts
                parts[channel] = part
                self.events += 1
                self.written_at = now
                sink.write(self._frame(body, b"".join(parts.values())))
                return
        if self._closed is not None:
            return
        if self._held is not None:
            if len(self._held) < _MOST_HELD and self._held_bytes < _MOST_HELD_BYTES:
                self._held.append((event, body, part))
                self._held_bytes += len(body)
            else:
                self._missed = True
        elif not self._take(event, body, part):
            self.on_gap(self)

    async def replay(self, events: Sequence[Event], read_to: Position, channel: Channel) -> None:
        """Stored events of one channel, the next ones after where the client stands: no faster than
        the client takes them, and many in one write. Raises ConnectionError when it is gone.
        """
        encode, frame = self.transport.encode, self.transport.frame
        before, after = self._cursor_around(channel)
        frames: list[bytes] = []
        unsent_bytes = 0
        for event in events:
            if event.position is None:
                continue
            part = format_part(channel, event.position).encode()
            frames.append(frame(encode(event.name, event.data), before + part + after))
            unsent_bytes += len(frames[-1])
            if unsent_bytes >= _REPLAY_BYTES:
                await self._write_replay(frames, channel, event.position)
                frames, unsent_bytes = [], 0
        await self._write_replay(frames, channel, read_to)

    async def _write_replay(
        self, frames: Sequence[bytes], channel: Channel, read_to: Position
    ) -> None:
        if frames and (self._sink.paused or self._outbox):
            await self.flushed()
        self.stand(channel, read_to)
        if frames and self._closed is None:
            self.events += len(frames)
            self._write(b"".join(frames))

    def hold(self) -> None:
        """Live events wait from now on."""
        if self._held is None:
            self._held = deque()
            self._flowing = False

    def note_missed(self) -> None:
        """Announcements may have been lost while it is held: the log must be read once more."""
        self._missed = True

    def release(self) -> bool:
        """Hands over what waited and goes live; False when the log must be read once more."""
        held = self._held or deque()
        whole, self._missed = not self._missed, False
        while held and whole:
            whole = self._take(*held[0])
            if whole:
                self._held_bytes -= len(held.popleft()[1])
        self._held = None if whole else held
        self._flowing = whole and self._closed is None
        return whole

    def open(self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int) -> None:
        """The first event: who this is, and whether what was missed follows."""
        data = {
            "connection": self.name,
            "user": self.user,
            "node": node,
            "heartbeat_seconds": heartbeat_seconds,
            "recovered": recovered,
            "replayed": replayed,
        }
        body = self.transport.encode("hub.open", encode_json(data))
        self._send(self.transport.opening(body, self._cursor(), self._retry_ms))

    def reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The log cannot continue from where the client stood; it goes on from the head."""
        self.stand(channel, head)
        data = encode_json({"channel": channel, "reason": reason})
        self._write_event(self.transport.encode("hub.reset", data))

    def beat(self) -> None:
        """A heartbeat, unless the socket is full: then silence is the client's own doing."""
        if self._closed is None and not self._sink.paused:
            self._write(self.transport.heartbeat)

    def close(self, reason: CloseReason) -> None:
        """Says goodbye and ends; a second call changes nothing."""
        if self._closed is not None:
            return
        if reason is not CloseReason.CLIENT_LEFT:
            data = {
                "reason": reason.label,
                "reconnect": reason.reconnect,
                "retry_ms": self._retry_ms,
            }
            body = self.transport.encode("hub.bye", encode_json(data))
            cursor = self._cursor() if self.positions else None
            if not self._outbox and not self._sink.paused:
                self._write(self.transport.frame(body, cursor))
        self._closed = reason
        self._flowing = False
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when nothing waits for the socket. Raises ConnectionError when it is gone."""
        while self._sink.paused or self._outbox:
            await self._sink.drain()
            while self._outbox and not self._sink.paused:
                self._write(self._outbox.take())

    async def run(self) -> CloseReason:
        """Flushes what the socket could not take, until the connection is closed."""
        while self._closed is None:
            await self._wake.wait()
            self._wake.clear()
            if self._closed is None:
                await self.flushed()
        return self._closed

    def _take(self, event: Event, body: bytes, part: bytes) -> bool:
        """Hands over the event unless it was before; False when there is a gap in front of it."""
        position = event.position
        if position is None:
            self._send(self.transport.frame(body, None))
            return True
        at = self.positions[event.channel]
        if position.epoch != at.epoch:
            return False
        if position.offset == at.offset + 1:
            self.positions[event.channel] = position
            self._parts[event.channel] = part
            self._write_event(body)
        return position.offset <= at.offset + 1

    def _write_event(self, body: bytes) -> None:
        self.events += 1
        self._send(self.transport.frame(body, self._cursor()))

    def _cursor(self) -> bytes:
        return b"".join(self._parts.values())

    def _cursor_around(self, channel: Channel) -> tuple[bytes, bytes]:
        """The cursor in front of the channel's part and behind it."""
        parts = list(self._parts.values())
        at = list(self._parts).index(channel)
        return b"".join(parts[:at]), b"".join(parts[at + 1 :])

    def _send(self, frame: bytes) -> None:
        if self._closed is not None:
            return
        if not self._outbox and not self._sink.paused:
            self._write(frame)
        elif self._outbox.push(frame):
            self._wake.set()
        else:
            self._sink.abort()
            self.close(CloseReason.SLOW)

    def _write(self, frame: bytes) -> None:
        self.written_at = self._now()
        self._sink.write(frame)
