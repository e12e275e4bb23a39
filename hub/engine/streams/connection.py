"""One live client: what it has been sent, and what must be sent next.

A connection puts the events of its channels into the client's order, without a gap and without a
duplicate, and bounds what waits for a slow client. Its view (stream_view.py) decides what the
client sees of them, its encoder how that looks, and its writer takes the bytes.

Rules:
1. `_write` writes everything that is for this connection alone. The broadcast loop (broadcast.py)
   writes what is for many, and only to synced connections. There is no third way.
2. While unsynced, `_positions` holds the client's position in each channel: it has been sent
   exactly the events up to there. `_cursor_parts` holds the same as text, one part of the cursor
   for each channel, in cursor order. Before the log was read, the positions are empty and the text
   is what the client sent: some clients forget their cursor on a connection without one. While
   synced both are empty, because the channel states hold the positions.
3. While buffering (joining or filling a gap), live events wait in `_buffered`, which is bounded. An
   event that does not fit is not lost: `flush_buffered` then says that the log must be read again.
4. Nothing is written after `close`. A connection ends once, by `close` or because the client
   disconnected, and then calls `on_end`.
5. Frames wait in the outbox only while the writer is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import (
    CURSOR_END,
    Cursor,
    Position,
    format_part,
    is_behind,
    part_prefix,
    to_base62,
)
from hub.core.event import Event, encode_json
from hub.core.outbox import Outbox
from hub.engine.streams.broadcast import send_if_open
from hub.engine.streams.channel_state import BroadcastGroup, ChannelState
from hub.engine.streams.stream_view import USER_STREAM, StreamView
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionWriter, EventEncoder

_MAX_BUFFERED_EVENTS: Final = 256
_MAX_BUFFERED_BYTES: Final = 1024 * 1024
_CURSOR_END: Final = CURSOR_END.encode()
_NONE: Final[Any] = MappingProxyType({})  # shared, and so read-only
_BLOCK_BYTES: Final = 16 * 1024  # the size of one write of a replay or of the outbox


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection is made of.

    id: names the connection in `hub.open`, logs and listings.
    channels: the user's own channel first, then the shared ones in cursor order.
    outbox_max_frames, outbox_max_bytes: what may wait while the writer is full.
    retry_ms: how long the client should wait before it reconnects.
    token_id: the token that opened it, so that the token can be revoked; None without one.
    address: the client's IP address, None when it is not known.
    heartbeat_seconds: a shorter interval than the node's; None means the node's.
    heartbeat_event: whether a heartbeat is the event `hub.heartbeat`, not a comment or a ping.
    client_cursor: the positions that the client sent, none without a cursor.
    """

    id: str
    user: str
    channels: Sequence[Channel]
    encoder: EventEncoder
    writer: ConnectionWriter
    outbox_max_frames: int
    outbox_max_bytes: int
    retry_ms: int
    token_id: str | None
    address: str | None
    heartbeat_seconds: float | None = None
    heartbeat_event: bool = False
    client_cursor: Cursor = {}


class Connection:
    """A client that follows `channels` over one transport."""

    __slots__ = (
        "_buffered",
        "_buffered_bytes",
        "_closed",
        "_cursor_parts",
        "_event_count",
        "_has_gap",
        "_heartbeat",
        "_now",
        "_outbox",
        "_own_channel",
        "_pending_open",
        "_positions",
        "_retry_ms",
        "_skipped",
        "_synced",
        "_view",
        "_waiter",
        "_written_at",
        "address",
        "channels",
        "connected_at",
        "encoder",
        "group",
        "heartbeat_seconds",
        "id",
        "on_client_disconnect",
        "on_end",
        "on_gap",
        "token_id",
        "user",
        "writer",
    )

    def __init__(
        self, options: ConnectionOptions, clock: Clock, view: StreamView = USER_STREAM
    ) -> None:
        self.id = options.id
        self.user = options.user
        self.channels = options.channels  # the user's own first, in cursor order
        self.encoder = options.encoder
        self.writer = options.writer
        self.token_id = options.token_id
        self.address = options.address
        self.heartbeat_seconds = options.heartbeat_seconds
        self._heartbeat = options.encoder.heartbeat
        if options.heartbeat_event:
            body = options.encoder.encode("hub.heartbeat", b"{}")
            self._heartbeat = options.encoder.frame(body, None)
        self.on_gap: Callable[[Connection], None] = _ignore  # the log must be read again
        self.on_end: Callable[[Connection], None] = _ignore  # called once, when it has ended
        # Called when the client disconnects before the hub closes the connection.
        self.on_client_disconnect: Callable[[], None] | None = None
        self.connected_at = clock.now()
        self.group: BroadcastGroup  # the connections that share its shared channels' frames
        self._view = view
        self._own_channel: ChannelState | None = None  # the state of the user's own channel
        self._synced = False  # whether the channel states hold its positions
        self._positions: dict[Channel, Position] = {}  # see rule 2
        self._skipped: dict[Channel, Position] = {}  # it was not sent the events up to here
        self._cursor_parts: dict[Channel, bytes] = dict.fromkeys(options.channels, b"")
        for channel, position in options.client_cursor.items():
            self._cursor_parts[channel] = format_part(channel, position).encode()
        # Events sent; while synced, the events that the channel states count come on top.
        self._event_count = 0
        self._written_at = clock.now()  # the last write to this connection alone
        self._outbox = Outbox(
            max_frames=options.outbox_max_frames, max_bytes=options.outbox_max_bytes
        )
        self._now = clock.now
        self._retry_ms = options.retry_ms
        self._pending_open: bytes | None = None  # the first frames, sent with the next write
        self._buffered: list[Event] | None = []  # live events that wait; None when live
        self._buffered_bytes = 0
        self._has_gap = False  # whether an event did not fit into _buffered
        self._closed: CloseReason | None = None
        self._waiter: asyncio.Future[None] | None = None  # see _wait_change
        self.writer.owner = self

    def __repr__(self) -> str:
        state = "buffering" if self.is_buffering else "synced" if self._synced else "unsynced"
        return f"<Connection {self.id} of {self.user}: {self._closed or state}>"

    @property
    def is_buffering(self) -> bool:
        """Whether live events wait."""
        return self._buffered is not None

    @property
    def is_synced(self) -> bool:
        """Whether the channel states hold its positions."""
        return self._synced

    @property
    def queued_frames(self) -> int:
        """The number of frames that wait for the socket."""
        return len(self._outbox)

    def has_taken(self, channel: Channel, position: Position) -> bool:
        """Return whether the client was sent the event at a position of a channel, and is there."""
        if self._closed is not None or self._outbox or not self._view.shows_all_events:
            return False
        at, skipped = self.positions.get(channel), self._skipped.get(channel)
        if at is None or at.epoch != position.epoch or at.offset < position.offset:
            return False
        # After events of another epoch, the present one was sent from its start.
        was_skipped = (
            skipped is not None
            and skipped.epoch == position.epoch
            and position.offset <= skipped.offset
        )
        return self.writer.is_drained and not was_skipped

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it has ended; None while it is open."""
        return self._closed

    @property
    def positions(self) -> Mapping[Channel, Position]:
        """The client's position in each channel."""
        if not self._synced:
            return self._positions
        return {s.channel: s.position for s in self._channel_states() if s.position is not None}

    @property
    def events(self) -> int:
        """The number of events that it has been sent."""
        return self._event_count + (self._delivered_while_synced() if self._synced else 0)

    @property
    def written_at(self) -> float:
        """When the last byte was written; the heartbeat wheel reads it."""
        own = self._own_channel
        if not self._synced or own is None:
            return self._written_at
        return max(self._written_at, own.delivered_at, self.group.delivered_at)

    def cursor(self) -> bytes:
        """Return the client's positions as the text of a cursor. Before the log was read, it is
        what the client sent, or empty.
        """
        if self._synced:
            parts = b"".join([state.cursor_part for state in self._channel_states()])
        else:
            parts = b"".join(self._cursor_parts.values())
        return parts and parts + _CURSOR_END

    def attach_channels(self, own_channel: ChannelState, group: BroadcastGroup) -> None:
        """Set the states of its channels."""
        self._own_channel, self.group = own_channel, group

    def set_position(self, channel: Channel, position: Position) -> None:
        """Record that the client has everything of the channel up to this position."""
        self._positions[channel] = position
        self._cursor_parts[channel] = format_part(channel, position).encode()

    def skip_to(self, channel: Channel, position: Position) -> None:
        """Continue a channel after this position; the client is not sent the events before."""
        self._skipped[channel] = position
        self.set_position(channel, position)

    def enter_sync(self) -> None:
        """Enter the synced state, if the client is where its channel states are and nothing waits
        for its socket.
        """
        own = self._own_channel
        if self._synced or own is None or self._buffered is not None or not self._view.can_sync:
            return
        if self._closed is not None or self._outbox or not self.writer.is_drained:
            return
        states = self._channel_states()
        for state in states:
            if state.position is not None and state.position != self._positions[state.channel]:
                return
        for state in states:
            if state.position is None:
                state.set_position(self._positions[state.channel])
            del state.unsynced[self]
            if not state.unsynced:
                state.unsynced.clear()  # otherwise an empty dict keeps its table of 160 bytes
        own.synced[self] = None
        self.writer.cursor_prefix = own.cursor_part
        self.group.add(self)
        self._synced = True
        self._event_count -= self._delivered_while_synced()
        self._positions = self._cursor_parts = _NONE

    def leave_sync(self) -> None:
        """Leave the synced state and take over the positions of the channel states."""
        own = self._own_channel
        if not self._synced or own is None:
            return
        self._positions, self._cursor_parts = {}, {}
        for state in self._channel_states():
            if state.position is not None:
                self._positions[state.channel] = state.position
            self._cursor_parts[state.channel] = state.cursor_part
            state.unsynced[self] = None
        self._written_at = self.written_at
        self._event_count += self._delivered_while_synced()
        self._synced = False
        del own.synced[self]
        if not own.synced:
            own.clear_position()
        self.group.remove(self)

    def deliver(self, event: Event) -> None:
        """Send a live event of one of its channels, while unsynced."""
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

    def is_behind(self, channel: Channel, head: Position | None) -> bool:
        """Return whether it lacks events up to the head of a channel, while unsynced.

        A connection that buffers reads the log anyway.
        """
        position = self._positions.get(channel)
        return position is not None and self._buffered is None and is_behind(position, head)

    def fill_gap(self) -> None:
        """Read the log, because events are missing."""
        self.on_gap(self)

    def on_partial_write(self, unsent: bytes) -> None:
        """The socket did not take all of a shared write: leave the synced state, write the rest."""
        self.leave_sync()
        self.writer.write(unsent)

    async def replay(self, events: Sequence[Event], end: Position, channel: Channel) -> None:
        """Send stored events of one channel, which continue from the client's position.

        end: the position up to which these events were read. The replay is no faster than the
        client, and many events share one write. Raise ConnectionError when the client is gone.
        """
        if not events:
            self.set_position(channel, end)
            self._close_if_complete()
            return
        view, encoder = self._view, self.encoder
        with_cursor = view.uses_hub_events
        before, after = self._cursor_around(channel)
        epoch, prefix = "", b""
        frames: list[bytes] = []
        unsent_bytes = 0
        for event in events:
            position = event.position
            if position is None or (body := view.encode(event, encoder)) is None:
                continue
            cursor = None
            if with_cursor:
                if position.epoch != epoch:
                    epoch = position.epoch
                    prefix = before + f"{epoch}-".encode()
                cursor = prefix + to_base62(position.offset).encode() + after
            frame = encoder.frame(body, cursor) if body else b""
            frames.append(frame)
            unsent_bytes += len(frame)
            if view.end_reason is not None:
                break
            if unsent_bytes >= _BLOCK_BYTES:
                await self._write_replay(frames, channel, position)
                frames, unsent_bytes = [], 0
        await self._write_replay(frames, channel, end)
        self._close_if_complete()

    async def _write_replay(self, frames: Sequence[bytes], channel: Channel, end: Position) -> None:
        if frames and (self.writer.is_full or self._outbox):
            await self.wait_writable()
        self.set_position(channel, end)
        if frames and self._closed is None:
            self._event_count += len(frames)
            self._write(b"".join(frames))

    def buffer_live(self) -> None:
        """Buffer live events from now on."""
        self.leave_sync()
        if self._buffered is None:
            self._buffered = []

    def mark_gap(self) -> None:
        """Live events may have been lost while it buffers: the log must be read once more."""
        self._has_gap = True

    def set_channels(self, channels: Sequence[Channel]) -> None:
        """Follow these channels from now on, and buffer. The positions in those that it followed
        before stay.
        """
        self.buffer_live()
        self.channels = channels
        self._positions = {c: self._positions[c] for c in channels if c in self._positions}
        self._skipped = {c: self._skipped[c] for c in channels if c in self._skipped}
        self._cursor_parts = {c: self._cursor_parts.get(c, b"") for c in channels}
        self._buffered = [event for event in self._buffered or () if event.channel in channels]
        self._buffered_bytes = sum(len(event.data) for event in self._buffered)

    def flush_buffered(self) -> bool:
        """Send the buffered events and go live. Return False when the log must be read again."""
        buffered = self._buffered or []
        complete, self._has_gap = not self._has_gap, False
        sent = 0
        while sent < len(buffered) and complete:
            complete = self._deliver_next(buffered[sent])
            sent += complete
        self._buffered_bytes -= sum(len(event.data) for event in buffered[:sent])
        del buffered[:sent]
        self._buffered = None if complete else buffered
        if self._pending_open is not None and self._closed is None:
            self._write(b"")  # also without first frames: it sends a head that the writer holds
        if complete and self._closed is None:
            self._view.on_live()
            self._close_if_complete()
        return complete

    def send_open(
        self, *, node: str, heartbeat_seconds: float, recovered: bool, replayed: int
    ) -> None:
        """Prepare the first frames; they are sent together with the first page of the replay.

        recovered: whether every channel continues from the client's cursor. replayed: the number of
        stored events that follow.
        """
        opening = {
            "connection": self.id,
            "user": self.user,
            "node": node,
            "heartbeat_seconds": heartbeat_seconds,
            "recovered": recovered,
            "replayed": replayed,
        }
        self._pending_open = self._view.first_frames(
            opening, self.cursor(), self._retry_ms, self.encoder
        )
        self._wake()
        self._close_if_complete()

    def send_reset(self, channel: Channel, head: Position, reason: str) -> None:
        """Tell the client that the log cannot continue from its position, and continue from `head`.

        A view that ends the stream instead keeps the position: the client then reconnects with the
        cursor that it has.
        """
        body = self._view.reset(channel, reason, self.encoder)
        if self._view.end_reason is None:
            self.skip_to(channel, head)
        if body is not None:
            self._send(self.encoder.frame(body, self.cursor()))
        self._close_if_complete()

    def send_heartbeat(self, now: float) -> None:
        """Send a heartbeat, unless the socket is full: a client that does not read needs none."""
        if self._synced:
            self._written_at = now
            frames = self._heartbeat
            sent = send_if_open(self.writer, frames)
            if sent != len(frames):
                self.on_partial_write(frames[sent:])
        elif self._closed is None and not self.writer.is_full and not self._outbox:
            self._write(self._heartbeat)

    def replace_writer(self, writer: ConnectionWriter) -> None:
        """Write to another writer from now on; do nothing after the end."""
        if self._closed is None:
            self.leave_sync()
            self.writer, writer.owner = writer, self
            self.on_writable()

    def send_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Send one of the hub's own events to this client alone, if its view has such events."""
        if self._closed is None and self._view.uses_hub_events:
            body = self.encoder.encode(name, encode_json(data))
            self._send(self.encoder.frame(body, self.cursor()))

    def send_frame(self, frame: bytes) -> None:
        """Send bytes of the transport itself, in order with the events."""
        self._send(frame)

    def close(self, reason: CloseReason, *, later_ms: int = 0) -> None:
        """Send the last event and end the connection; a second call does nothing.

        later_ms: how much longer than usual the client should wait before it reconnects.
        """
        if self._closed is not None:
            return
        self.leave_sync()
        if reason is not CloseReason.CLIENT_DISCONNECTED:
            body = self._view.last_body(reason, self._retry_ms + later_ms, self.encoder)
            if body is not None:
                self._write_last(body, reason)
        self.writer.close()
        self._finish(reason)

    def _write_last(self, body: bytes, reason: CloseReason) -> None:
        if reason is not CloseReason.SLOW:  # the writer of a slow client has been aborted
            self._drain_outbox()
            cursor = self.cursor() if self._view.uses_hub_events else None
            self._write(self.encoder.frame(body, cursor) if body else b"")
        if not self._view.is_broken:
            self.writer.write(self.encoder.trailer(reconnect=reason.reconnect))

    def _drain_outbox(self) -> None:
        """Write everything that waits, which is bounded, also to a full writer."""
        while self._outbox:
            self._write(self._outbox.pop(_BLOCK_BYTES))

    def _close_if_complete(self) -> None:
        reason = self._view.end_reason
        if reason is not None:
            self.close(reason)

    def on_disconnect(self) -> None:
        """The socket is closed, or the client has disconnected."""
        if self._closed is None:
            self.leave_sync()
            self._finish(CloseReason.CLIENT_DISCONNECTED)

    def on_writable(self) -> None:
        """The writer is no longer full: write what waits."""
        while self._outbox and not self.writer.is_full and self._closed is None:
            self._write(self._outbox.pop(_BLOCK_BYTES))
        if not self._outbox and not self.writer.is_full:
            self._wake()
            self.enter_sync()

    async def wait_writable(self) -> None:
        """Wait until nothing waits for the socket. Raise ConnectionError when it is closed."""
        while self._closed is None and (self.writer.is_full or self._outbox):
            await self._wait_change()
        if self._closed is not None:
            raise ConnectionResetError("the connection has ended")

    async def wait_open(self) -> None:
        """Wait until its first event is prepared, so that others can follow, or it has ended."""
        while self._closed is None and not self.positions:
            await self._wait_change()

    async def wait_closed(self) -> CloseReason:
        """Wait until it has ended, and return the reason."""
        while self._closed is None:
            await self._wait_change()
        return self._closed

    async def _wait_change(self) -> None:
        """Wait until it is opened, writable again, or ended: whatever `_wake` is called for."""
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
        if reason is CloseReason.CLIENT_DISCONNECTED and self.on_client_disconnect is not None:
            self.on_client_disconnect()

    def _deliver_next(self, event: Event) -> bool:
        """Send the event, unless it was sent before. Return False when events before it are
        missing.
        """
        position = event.position
        if position is None:
            self._send_in_order(event)
            return True
        at = self._positions[event.channel]
        if event.follows(at):
            self.set_position(event.channel, position)
            self._send_in_order(event)
            return True
        return position.epoch == at.epoch and position.offset <= at.offset

    def _send_in_order(self, event: Event) -> None:
        """Send the event if its view shows it, with the cursor if the event is stored."""
        view = self._view
        body = view.encode(event, self.encoder)
        if body is None:
            return
        self._event_count += 1
        if body:
            with_cursor = event.position is not None and view.uses_hub_events
            self._send(self.encoder.frame(body, self.cursor() if with_cursor else None))
        if view.end_reason is not None:
            self._close_if_complete()

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
        if self._pending_open is not None:
            frames, self._pending_open = self._pending_open + frames, None
        self.writer.write(frames)
        if self._synced and not self.writer.is_drained:
            self.leave_sync()

    def _channel_states(self) -> list[ChannelState]:
        assert self._own_channel is not None
        return [self._own_channel, *self.group.shared]

    def _delivered_while_synced(self) -> int:
        return sum(state.delivered for state in self._channel_states())

    def _cursor_around(self, channel: Channel) -> tuple[bytes, bytes]:
        """Return the text of the cursor before and after the position in this channel."""
        parts = [*self._cursor_parts.values(), _CURSOR_END]
        at = list(self._cursor_parts).index(channel)
        return b"".join(parts[:at]) + part_prefix(channel).encode(), b"".join(parts[at + 1 :])


def _ignore(connection: Connection) -> None:
    """Do nothing."""
