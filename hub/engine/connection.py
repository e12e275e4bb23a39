"""One live client: what it has been sent, and what it must be sent next.

Rules:
1. Everything that is written to a connection alone goes through `_write`; what is written to many
   at once goes to those in step (engine/tracks.py) and nobody else. There is no third way.
2. Apart, `positions` is where the client stands: exactly the events up to there have been handed
   over. `_parts` holds the same as text, a channel's part of the cursor each, in its order. In
   step both are empty: the tracks say it.
3. While it is held (joining, or filling a gap) live events wait in `_held`, bounded; what does not
   fit is not lost, since `release` then says that the log must be read again.
4. After `close` nothing is written. It ends once, by `close` or because the client left, and says
   so to `on_end`.
5. What waits in the outbox waits for a sink that is paused, and for nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.core.channel import Channel
from hub.core.close import CloseReason
from hub.core.cursor import Position, format_part, format_place, part_prefix
from hub.core.event import Event, encode_json
from hub.core.outbox import Outbox
from hub.engine.tracks import Audience, Track
from hub.ports import Clock, Sink, Transport

_MOST_HELD: Final = 256
_MOST_HELD_BYTES: Final = 1024 * 1024
_BLOCK_BYTES: Final = 16 * 1024  # what is written at once of a replay, or of what waited


class Connection:
    """A client that follows `channels`, its own first and in cursor order, over one transport."""

    __slots__ = (
        "_closed",
        "_counted",
        "_held",
        "_held_bytes",
        "_in_step",
        "_lead",
        "_missed",
        "_now",
        "_outbox",
        "_own",
        "_parts",
        "_positions",
        "_retry_ms",
        "_waiter",
        "_written_at",
        "address",
        "audience",
        "begun",
        "channels",
        "name",
        "on_end",
        "on_gap",
        "sink",
        "token_id",
        "transport",
        "user",
    )

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
        token_id: str | None = None,
        address: str | None = None,
    ) -> None:
        self.name = name
        self.user = user
        self.channels = channels
        self.transport = transport
        self.sink = sink
        self.token_id = token_id
        self.address = address
        self.on_gap: Callable[[Connection], None] = _nothing
        self.on_end: Callable[[Connection], None] = _nothing
        self.begun = clock.now()
        self._own: Track | None = None
        self.audience: Audience
        self._in_step = False
        self._positions: dict[Channel, Position] = {}
        self._parts: dict[Channel, bytes] = dict.fromkeys(channels, b"")
        self._counted = 0  # events handed over; in step, without those of the tracks
        self._written_at = clock.now()
        self._outbox = outbox
        self._now = clock.now
        self._retry_ms = retry_ms
        self._lead = b""  # what the next write begins with
        self._held: list[Event] | None = []
        self._held_bytes = 0
        self._missed = False  # an event did not fit into _held
        self._closed: CloseReason | None = None
        self._waiter: asyncio.Future[None] | None = None  # for the sink to take more, or the end
        sink.owner = self

    def __repr__(self) -> str:
        state = "held" if self.is_held else "in step" if self._in_step else "apart"
        return f"<Connection {self.name} of {self.user} {self._closed or state}>"

    @property
    def is_held(self) -> bool:
        """Whether live events wait."""
        return self._held is not None

    @property
    def is_in_step(self) -> bool:
        """Whether its tracks say where it stands."""
        return self._in_step

    @property
    def waiting(self) -> int:
        """How many frames wait for the socket."""
        return len(self._outbox)

    @property
    def closed(self) -> CloseReason | None:
        """Why it was closed, once it is."""
        return self._closed

    @property
    def positions(self) -> Mapping[Channel, Position]:
        """Where the client stands in each channel."""
        if not self._in_step:
            return self._positions
        return {t.channel: t.position for t in self._tracks() if t.position is not None}

    @property
    def events(self) -> int:
        """How many events it was handed."""
        return self._counted + (self._delivered_in_step() if self._in_step else 0)

    @property
    def written_at(self) -> float:
        """When the last byte went out; the heartbeat wheel reads it."""
        own = self._own
        if not self._in_step or own is None:
            return self._written_at
        return max(self._written_at, own.delivered_at, self.audience.delivered_at)

    def follow(self, own: Track, audience: Audience) -> None:
        """These are the tracks of its channels."""
        self._own, self.audience = own, audience

    def stand(self, channel: Channel, position: Position) -> None:
        """The client stands here now."""
        self._positions[channel] = position
        self._parts[channel] = format_part(channel, position).encode()

    def step_in(self) -> None:
        """Goes in step, if it stands where its tracks stand and nothing waits for its socket."""
        own = self._own
        if self._in_step or own is None or self._held is not None:
            return
        if self._closed is not None or self._outbox or not self.sink.idle:
            return
        tracks = self._tracks()
        for track in tracks:
            if track.position is not None and track.position != self._positions[track.channel]:
                return
        for track in tracks:
            if track.position is None:
                track.stand(self._positions[track.channel])
            del track.apart[self]
        own.in_step[self] = None
        self.sink.own = own.part
        self.audience.add(self)
        self._in_step = True
        self._counted -= self._delivered_in_step()
        self._positions, self._parts = {}, {}

    def step_out(self) -> None:
        """Stands alone from now on, where its tracks stand."""
        own = self._own
        if not self._in_step or own is None:
            return
        for track in self._tracks():
            if track.position is not None:
                self._positions[track.channel] = track.position
            self._parts[track.channel] = track.part
            track.apart[self] = None
        self._written_at = self.written_at
        self._counted += self._delivered_in_step()
        self._in_step = False
        del own.in_step[self]
        if not own.in_step:
            own.forget()
        self.audience.remove(self)

    def offer(self, event: Event) -> None:
        """A live event of a channel that it follows, apart."""
        if self._closed is not None:
            return
        if self._held is None:
            if not self._take(event):
                self.on_gap(self)
        elif len(self._held) < _MOST_HELD and self._held_bytes < _MOST_HELD_BYTES:
            self._held.append(event)
            self._held_bytes += len(event.data)
        else:
            self._missed = True

    def overflow(self, rest: bytes) -> None:
        """In step, the socket took less than it was sent: this is left, and it stands alone now."""
        self.step_out()
        self.sink.write(rest)

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
            place = format_place(event.position).encode()
            frames.append(
                frame(encode(event.name, event.data, event.channel), before + place + after)
            )
            unsent_bytes += len(frames[-1])
            if unsent_bytes >= _BLOCK_BYTES:
                await self._write_replay(frames, channel, event.position)
                frames, unsent_bytes = [], 0
        await self._write_replay(frames, channel, read_to)

    async def _write_replay(
        self, frames: Sequence[bytes], channel: Channel, read_to: Position
    ) -> None:
        if frames and (self.sink.paused or self._outbox):
            await self.flushed()
        self.stand(channel, read_to)
        if frames and self._closed is None:
            self._counted += len(frames)
            self._write(b"".join(frames))

    def hold(self) -> None:
        """Live events wait from now on."""
        self.step_out()
        if self._held is None:
            self._held = []

    def note_missed(self) -> None:
        """Announcements may have been lost while it is held: the log must be read once more."""
        self._missed = True

    def turn_to(self, channels: Sequence[Channel]) -> None:
        """Follows these from now on, and waits; in those that stay it stands where it stood."""
        self.hold()
        self.channels = channels
        self._positions = {c: self._positions[c] for c in channels if c in self._positions}
        self._parts = {c: self._parts.get(c, b"") for c in channels}
        self._held = [event for event in self._held or () if event.channel in channels]
        self._held_bytes = sum(len(event.data) for event in self._held)

    def release(self) -> bool:
        """Hands over what waited and goes live; False when the log must be read once more."""
        held = self._held or []
        whole, self._missed = not self._missed, False
        taken = 0
        while taken < len(held) and whole:
            whole = self._take(held[taken])
            taken += whole
        self._held_bytes -= sum(len(event.data) for event in held[:taken])
        del held[:taken]
        self._held = None if whole else held
        if self._lead and self._closed is None:
            self._write(b"")
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
        self.begin_with(body)

    def begin_with(self, body: bytes) -> None:
        """The first event, with the cursor; it leaves with the first page of the replay."""
        self._lead = self.transport.opening(body, self._cursor(), self._retry_ms)
        self._wake()

    def reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The log cannot continue from where the client stood; it goes on from the head."""
        self.stand(channel, head)
        data = encode_json({"channel": channel, "reason": reason})
        self._send_event(self.transport.encode("hub.reset", data))

    def beat(self, now: float) -> None:
        """A heartbeat, unless the socket is full: then silence is the client's own doing."""
        if self._in_step:
            self._written_at = now
            frames = self.transport.heartbeat
            sent = send_guarded(self.sink, frames)
            if sent != len(frames):
                self.overflow(frames[sent:])
        elif self._closed is None and not self.sink.paused and not self._outbox:
            self._write(self.transport.heartbeat)

    def tell(self, name: str, data: Mapping[str, Any]) -> None:
        """An event of the hub's own, to this client alone."""
        if self._closed is None:
            self._send_event(self.transport.encode(name, encode_json(data)))

    def send_frame(self, frame: bytes) -> None:
        """Bytes of the transport's own, in their order with the events."""
        self._send(frame)

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """Says goodbye and ends; a second call changes nothing. later_ms: beside the usual, that
        the client should wait before it returns.
        """
        if self._closed is not None:
            return
        self.step_out()
        if reason is not CloseReason.CLIENT_LEFT:
            data = {
                "reason": reason.label,
                "reconnect": reason.reconnect,
                "retry_ms": self._retry_ms + later_ms,
            }
            body = self.transport.encode("hub.bye", encode_json(data))
            cursor = self._cursor() if self._positions else None
            if reason is not CloseReason.SLOW:  # it has been cut off
                self.write_out()
                self._write(self.transport.frame(body, cursor))
            self.sink.write(self.transport.ending(reconnect=reason.reconnect))
        self.sink.close()
        self._end(reason)

    def write_out(self) -> None:
        """Hands over all that waits, which is bounded, before an end that is final."""
        while self._outbox:
            self._write(self._outbox.take(_BLOCK_BYTES))

    def lost(self) -> None:
        """The socket has gone."""
        if self._closed is None:
            self.step_out()
            self._end(CloseReason.CLIENT_LEFT)

    def flush(self) -> None:
        """The socket takes more."""
        while self._outbox and not self.sink.paused and self._closed is None:
            self._write(self._outbox.take(_BLOCK_BYTES))
        if not self._outbox and not self.sink.paused:
            self._wake()
            self.step_in()

    async def flushed(self) -> None:
        """Returns when nothing waits for the socket. Raises ConnectionError when it is gone."""
        while self._closed is None and (self.sink.paused or self._outbox):
            await self._change()
        if self._closed is not None:
            raise ConnectionResetError("the connection has ended")

    async def opened(self) -> None:
        """Returns when it has its first event, so that others may follow it, or has ended."""
        while self._closed is None and not self.positions:
            await self._change()

    async def ended(self) -> CloseReason:
        """Returns when it has ended: why."""
        while self._closed is None:
            await self._change()
        return self._closed

    async def _change(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, reason: CloseReason) -> None:
        self._closed = reason
        self.sink.owner = None
        self._wake()
        self.on_end(self)
        self.on_end = self.on_gap = _nothing

    def _take(self, event: Event) -> bool:
        """Hands over the event unless it was before; False when there is a gap in front of it."""
        position = event.position
        if position is None:
            self._hand_over(event)
            return True
        at = self._positions[event.channel]
        if position.epoch != at.epoch:
            return False
        if position.offset == at.offset + 1:
            self.stand(event.channel, position)
            self._hand_over(event)
        return position.offset <= at.offset + 1

    def _hand_over(self, event: Event) -> None:
        """The event, with where the client stands if it has a place."""
        body = self.transport.encode(event.name, event.data, event.channel)
        self._counted += 1
        if event.position is not None:
            self._send_event(body)
        else:
            self._send(self.transport.frame(body, None))

    def _send_event(self, body: bytes) -> None:
        self._send(self.transport.frame(body, self._cursor()))

    def _send(self, frame: bytes) -> None:
        if self._closed is not None:
            return
        if not self._outbox and not self.sink.paused:
            self._write(frame)
        elif not self._outbox.push(frame):
            self.sink.abort()
            self.close(CloseReason.SLOW)

    def _write(self, frames: bytes) -> None:
        self._written_at = self._now()
        self.sink.write(self._lead + frames)
        self._lead = b""
        if self._in_step and not self.sink.idle:
            self.step_out()

    def _tracks(self) -> list[Track]:
        assert self._own is not None
        return [self._own, *self.audience.shared]

    def _delivered_in_step(self) -> int:
        return sum(track.delivered for track in self._tracks())

    def _cursor(self) -> bytes:
        if self._in_step:
            return b"".join([track.part for track in self._tracks()])
        return b"".join(self._parts.values())

    def _cursor_around(self, channel: Channel) -> tuple[bytes, bytes]:
        """The cursor in front of the channel's place and behind it."""
        parts = list(self._parts.values())
        at = list(self._parts).index(channel)
        return b"".join(parts[:at]) + part_prefix(channel).encode(), b"".join(parts[at + 1 :])


def send_guarded(sink: Sink, frames: bytes) -> int:
    """How many of the bytes an idle sink took at once; the caller writes the rest."""
    try:
        return 0 if sink.gone() else sink.send(frames)
    except OSError:
        return 0  # full, or lost: the sink finds out which


def _nothing(connection: Connection) -> None:
    """Nobody is told."""
