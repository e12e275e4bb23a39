"""One live client: what it has been sent, and what it must be sent next.

Rules:
1. Everything that is written to a connection alone goes through `_write`; what is written to many
   at once goes to those in step (engine/channel_state.py) and nobody else. There is no third way.
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
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position, format_part, format_place, part_prefix
from hub.core.event import Event, encode_json
from hub.core.outbox import Outbox
from hub.engine.channel_state import BroadcastGroup, ChannelState
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionWriter, EventEncoder

_MAX_BUFFERED_EVENTS: Final = 256
_MAX_BUFFERED_BYTES: Final = 1024 * 1024
_BLOCK_BYTES: Final = 16 * 1024  # what is written at once of a replay, or of what waited


class Connection:
    """A client that follows `channels`, its own first and in cursor order, over one transport."""

    __slots__ = (
        "_buffered",
        "_buffered_bytes",
        "_closed",
        "_cursor_parts",
        "_event_count",
        "_has_gap",
        "_now",
        "_outbox",
        "_own_channel",
        "_pending_open",
        "_positions",
        "_retry_ms",
        "_synced",
        "_waiter",
        "_written_at",
        "address",
        "channels",
        "connected_at",
        "encoder",
        "group",
        "name",
        "on_end",
        "on_gap",
        "token_id",
        "user",
        "writer",
    )

    def __init__(
        self,
        name: str,
        user: str,
        channels: Sequence[Channel],
        *,
        encoder: EventEncoder,
        writer: ConnectionWriter,
        outbox: Outbox,
        clock: Clock,
        retry_ms: int,
        token_id: str | None = None,
        address: str | None = None,
    ) -> None:
        self.name = name
        self.user = user
        self.channels = channels
        self.encoder = encoder
        self.writer = writer
        self.token_id = token_id
        self.address = address
        self.on_gap: Callable[[Connection], None] = _ignore
        self.on_end: Callable[[Connection], None] = _ignore
        self.connected_at = clock.now()
        self._own_channel: ChannelState | None = None
        self.group: BroadcastGroup
        self._synced = False
        self._positions: dict[Channel, Position] = {}
        self._cursor_parts: dict[Channel, bytes] = dict.fromkeys(channels, b"")
        self._event_count = 0  # events handed over; in step, without those of the tracks
        self._written_at = clock.now()
        self._outbox = outbox
        self._now = clock.now
        self._retry_ms = retry_ms
        self._pending_open = b""  # what the next write begins with
        self._buffered: list[Event] | None = []
        self._buffered_bytes = 0
        self._has_gap = False  # an event did not fit into _held
        self._closed: CloseReason | None = None
        self._waiter: asyncio.Future[None] | None = None  # for the sink to take more, or the end
        writer.owner = self

    def __repr__(self) -> str:
        state = "held" if self.is_buffering else "in step" if self._synced else "apart"
        return f"<Connection {self.name} of {self.user} {self._closed or state}>"

    @property
    def is_buffering(self) -> bool:
        """Whether live events wait."""
        return self._buffered is not None

    @property
    def is_synced(self) -> bool:
        """Whether its tracks say where it stands."""
        return self._synced

    @property
    def queued_frames(self) -> int:
        """How many frames wait for the socket."""
        return len(self._outbox)

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it was closed, once it is."""
        return self._closed

    @property
    def positions(self) -> Mapping[Channel, Position]:
        """Where the client stands in each channel."""
        if not self._synced:
            return self._positions
        return {t.channel: t.position for t in self._channel_states() if t.position is not None}

    @property
    def events(self) -> int:
        """How many events it was handed."""
        return self._event_count + (self._delivered_while_synced() if self._synced else 0)

    @property
    def written_at(self) -> float:
        """When the last byte went out; the heartbeat wheel reads it."""
        own = self._own_channel
        if not self._synced or own is None:
            return self._written_at
        return max(self._written_at, own.delivered_at, self.group.delivered_at)

    def attach_channels(self, own_channel: ChannelState, group: BroadcastGroup) -> None:
        """These are the tracks of its channels."""
        self._own_channel, self.group = own_channel, group

    def set_position(self, channel: Channel, position: Position) -> None:
        """The client stands here now."""
        self._positions[channel] = position
        self._cursor_parts[channel] = format_part(channel, position).encode()

    def enter_sync(self) -> None:
        """Goes in step, if it stands where its tracks stand and nothing waits for its socket."""
        own = self._own_channel
        if self._synced or own is None or self._buffered is not None:
            return
        if self._closed is not None or self._outbox or not self.writer.is_drained:
            return
        tracks = self._channel_states()
        for track in tracks:
            if track.position is not None and track.position != self._positions[track.channel]:
                return
        for track in tracks:
            if track.position is None:
                track.set_position(self._positions[track.channel])
            del track.unsynced[self]
        own.synced[self] = None
        self.writer.cursor_prefix = own.cursor_part
        self.group.add(self)
        self._synced = True
        self._event_count -= self._delivered_while_synced()
        self._positions, self._cursor_parts = {}, {}

    def leave_sync(self) -> None:
        """Stands alone from now on, where its tracks stand."""
        own = self._own_channel
        if not self._synced or own is None:
            return
        for track in self._channel_states():
            if track.position is not None:
                self._positions[track.channel] = track.position
            self._cursor_parts[track.channel] = track.cursor_part
            track.unsynced[self] = None
        self._written_at = self.written_at
        self._event_count += self._delivered_while_synced()
        self._synced = False
        del own.synced[self]
        if not own.synced:
            own.clear_position()
        self.group.remove(self)

    def deliver(self, event: Event) -> None:
        """A live event of a channel that it follows, apart."""
        if self._closed is not None:
            return
        if self._buffered is None:
            if not self._deliver_next(event):
                self.on_gap(self)
        elif (
            len(self._buffered) < _MAX_BUFFERED_EVENTS
            and self._buffered_bytes < _MAX_BUFFERED_BYTES
        ):
            self._buffered.append(event)
            self._buffered_bytes += len(event.data)
        else:
            self._has_gap = True

    def on_partial_write(self, unsent: bytes) -> None:
        """In step, the socket took less than it was sent: this is left, and it stands alone now."""
        self.leave_sync()
        self.writer.write(unsent)

    async def replay(self, events: Sequence[Event], read_to: Position, channel: Channel) -> None:
        """Stored events of one channel, the next ones after where the client stands: no faster than
        the client takes them, and many in one write. Raises ConnectionError when it is gone.
        """
        encode, frame = self.encoder.encode, self.encoder.frame
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
        if frames and (self.writer.is_full or self._outbox):
            await self.wait_writable()
        self.set_position(channel, read_to)
        if frames and self._closed is None:
            self._event_count += len(frames)
            self._write(b"".join(frames))

    def buffer_live(self) -> None:
        """Live events wait from now on."""
        self.leave_sync()
        if self._buffered is None:
            self._buffered = []

    def mark_gap(self) -> None:
        """Announcements may have been lost while it is held: the log must be read once more."""
        self._has_gap = True

    def set_channels(self, channels: Sequence[Channel]) -> None:
        """Follows these from now on, and waits; in those that stay it stands where it stood."""
        self.buffer_live()
        self.channels = channels
        self._positions = {c: self._positions[c] for c in channels if c in self._positions}
        self._cursor_parts = {c: self._cursor_parts.get(c, b"") for c in channels}
        self._buffered = [event for event in self._buffered or () if event.channel in channels]
        self._buffered_bytes = sum(len(event.data) for event in self._buffered)

    def flush_buffered(self) -> bool:
        """Hands over what waited and goes live; False when the log must be read once more."""
        held = self._buffered or []
        whole, self._has_gap = not self._has_gap, False
        taken = 0
        while taken < len(held) and whole:
            whole = self._deliver_next(held[taken])
            taken += whole
        self._buffered_bytes -= sum(len(event.data) for event in held[:taken])
        del held[:taken]
        self._buffered = None if whole else held
        if self._pending_open and self._closed is None:
            self._write(b"")
        return whole

    def send_open(
        self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int
    ) -> None:
        """The first event: who this is, and whether what was missed follows."""
        data = {
            "connection": self.name,
            "user": self.user,
            "node": node,
            "heartbeat_seconds": heartbeat_seconds,
            "recovered": recovered,
            "replayed": replayed,
        }
        body = self.encoder.encode("hub.open", encode_json(data))
        self.set_first_event(body)

    def set_first_event(self, body: bytes) -> None:
        """The first event, with the cursor; it leaves with the first page of the replay."""
        self._pending_open = self.encoder.first_event(body, self._cursor(), self._retry_ms)
        self._wake()

    def send_reset(self, channel: Channel, head: Position, reason: str) -> None:
        """The log cannot continue from where the client stood; it goes on from the head."""
        self.set_position(channel, head)
        data = encode_json({"channel": channel, "reason": reason})
        self._send_event(self.encoder.encode("hub.reset", data))

    def send_heartbeat(self, now: float) -> None:
        """A heartbeat, unless the socket is full: then silence is the client's own doing."""
        if self._synced:
            self._written_at = now
            frames = self.encoder.heartbeat
            sent = send_guarded(self.writer, frames)
            if sent != len(frames):
                self.on_partial_write(frames[sent:])
        elif self._closed is None and not self.writer.is_full and not self._outbox:
            self._write(self.encoder.heartbeat)

    def send_event(self, name: str, data: Mapping[str, Any]) -> None:
        """An event of the hub's own, to this client alone."""
        if self._closed is None:
            self._send_event(self.encoder.encode(name, encode_json(data)))

    def send_frame(self, frame: bytes) -> None:
        """Bytes of the transport's own, in their order with the events."""
        self._send(frame)

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """Says goodbye and ends; a second call changes nothing. later_ms: beside the usual, that
        the client should wait before it returns.
        """
        if self._closed is not None:
            return
        self.leave_sync()
        if reason is not CloseReason.CLIENT_DISCONNECTED:
            data = {
                "reason": reason.label,
                "reconnect": reason.reconnect,
                "retry_ms": self._retry_ms + later_ms,
            }
            body = self.encoder.encode("hub.bye", encode_json(data))
            cursor = self._cursor() if self._positions else None
            if reason is not CloseReason.SLOW:  # it has been cut off
                self.drain_outbox()
                self._write(self.encoder.frame(body, cursor))
            self.writer.write(self.encoder.trailer(reconnect=reason.reconnect))
        self.writer.close()
        self._finish(reason)

    def drain_outbox(self) -> None:
        """Hands over all that waits, which is bounded, before an end that is final."""
        while self._outbox:
            self._write(self._outbox.pop(_BLOCK_BYTES))

    def on_disconnect(self) -> None:
        """The socket has gone."""
        if self._closed is None:
            self.leave_sync()
            self._finish(CloseReason.CLIENT_DISCONNECTED)

    def on_writable(self) -> None:
        """The socket takes more."""
        while self._outbox and not self.writer.is_full and self._closed is None:
            self._write(self._outbox.pop(_BLOCK_BYTES))
        if not self._outbox and not self.writer.is_full:
            self._wake()
            self.enter_sync()

    async def wait_writable(self) -> None:
        """Returns when nothing waits for the socket. Raises ConnectionError when it is gone."""
        while self._closed is None and (self.writer.is_full or self._outbox):
            await self._wait_change()
        if self._closed is not None:
            raise ConnectionResetError("the connection has ended")

    async def wait_open(self) -> None:
        """Returns when it has its first event, so that others may follow it, or has ended."""
        while self._closed is None and not self.positions:
            await self._wait_change()

    async def wait_closed(self) -> CloseReason:
        """Returns when it has ended: why."""
        while self._closed is None:
            await self._wait_change()
        return self._closed

    async def _wait_change(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self, reason: CloseReason) -> None:
        self._closed = reason
        self.writer.owner = None
        self._wake()
        self.on_end(self)
        self.on_end = self.on_gap = _ignore

    def _deliver_next(self, event: Event) -> bool:
        """Hands over the event unless it was before; False when there is a gap in front of it."""
        position = event.position
        if position is None:
            self._send_in_order(event)
            return True
        at = self._positions[event.channel]
        if position.epoch != at.epoch:
            return False
        if position.offset == at.offset + 1:
            self.set_position(event.channel, position)
            self._send_in_order(event)
        return position.offset <= at.offset + 1

    def _send_in_order(self, event: Event) -> None:
        """The event, with where the client stands if it has a place."""
        body = self.encoder.encode(event.name, event.data, event.channel)
        self._event_count += 1
        if event.position is not None:
            self._send_event(body)
        else:
            self._send(self.encoder.frame(body, None))

    def _send_event(self, body: bytes) -> None:
        self._send(self.encoder.frame(body, self._cursor()))

    def _send(self, frame: bytes) -> None:
        if self._closed is not None:
            return
        if not self._outbox and not self.writer.is_full:
            self._write(frame)
        elif not self._outbox.push(frame):
            self.writer.abort()
            self.close(CloseReason.SLOW)

    def _write(self, frames: bytes) -> None:
        self._written_at = self._now()
        self.writer.write(self._pending_open + frames)
        self._pending_open = b""
        if self._synced and not self.writer.is_drained:
            self.leave_sync()

    def _channel_states(self) -> list[ChannelState]:
        assert self._own_channel is not None
        return [self._own_channel, *self.group.shared]

    def _delivered_while_synced(self) -> int:
        return sum(track.delivered for track in self._channel_states())

    def _cursor(self) -> bytes:
        if self._synced:
            return b"".join([track.cursor_part for track in self._channel_states()])
        return b"".join(self._cursor_parts.values())

    def _cursor_around(self, channel: Channel) -> tuple[bytes, bytes]:
        """The cursor in front of the channel's place and behind it."""
        parts = list(self._cursor_parts.values())
        at = list(self._cursor_parts).index(channel)
        return b"".join(parts[:at]) + part_prefix(channel).encode(), b"".join(parts[at + 1 :])


def send_guarded(sink: ConnectionWriter, frames: bytes) -> int:
    """How many of the bytes an idle sink took at once; the caller writes the rest."""
    try:
        return 0 if sink.is_closing() else sink.try_send(frames)
    except OSError:
        return 0  # full, or lost: the sink finds out which


def _ignore(connection: Connection) -> None:
    """Nobody is told."""
