"""Which connections follow which channel, and which of them have exactly what the channel has.

A connection is *synced* when it has been sent every event that this node has received for each of
its channels, and nothing waits for its socket. It then needs no positions of its own, because the
states of its channels hold them, and the next event is the same bytes for all connections that
follow the same shared channels, except for each one's own part of the cursor. Every other
connection (joining, filling a gap, with a full socket) is *unsynced*: it has its own positions and
is handled alone.

Rules:
1. A connection is either synced or unsynced, and the same in all of its channel states.
2. A channel state has a position exactly while a connection is synced with it, and every synced
   connection has that position: the first one to enter the synced state sets it.
3. Events are taken in order. After a gap, or in an epoch that does not continue the present one,
   every connection becomes unsynced and reads the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from weakref import WeakValueDictionary

from hub.core.channel import Channel
from hub.core.cursor import CURSOR_END, Position, is_behind, part_prefix, to_base62
from hub.core.event import Event
from hub.ports.connections import ConnectionWriter, EventEncoder

_CURSOR_END: Final = CURSOR_END.encode()
_NEVER: Final = float("-inf")


class Subscriber(Protocol):
    """What channel states and the broadcast know of a connection."""

    id: str
    channels: Sequence[Channel]
    encoder: EventEncoder
    writer: ConnectionWriter
    group: BroadcastGroup

    def attach_channels(self, own_channel: ChannelState, group: BroadcastGroup, /) -> None:
        """Set the states of its channels."""
        ...

    def set_channels(self, channels: Sequence[Channel], /) -> None:
        """Follow these channels, unsynced."""
        ...

    def enter_sync(self) -> None:
        """Enter the synced state, if that is possible now."""
        ...

    def leave_sync(self) -> None:
        """Leave the synced state."""
        ...

    def deliver(self, event: Event, /) -> None:
        """Send a live event, while unsynced."""
        ...

    def is_behind(self, channel: Channel, head: Position | None, /) -> bool:
        """Return whether it lacks events up to the head of a channel, while unsynced."""
        ...

    def fill_gap(self) -> None:
        """Read the log, because events are missing."""
        ...

    def on_partial_write(self, unsent: bytes, /) -> None:
        """The socket did not take all of a shared write."""
        ...

    def on_disconnect(self) -> None:
        """The connection has ended."""
        ...


class ChannelState:
    """One channel, as this node has received it."""

    __slots__ = (
        "_before_offset",
        "channel",
        "cursor_part",
        "delivered",
        "delivered_at",
        "groups",
        "position",
        "synced",
        "unsynced",
    )

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        # The last event's position; None while no connection is synced.
        self.position: Position | None = None
        self.cursor_part = b""  # the position as text: this channel's part of a cursor
        self._before_offset = ""  # the same text without the offset at its end
        self.delivered = 0  # events sent to the synced connections
        self.delivered_at = _NEVER  # when the last one was sent (the clock's seconds)
        self.unsynced: dict[Subscriber, None] = {}
        self.synced: dict[Subscriber, None] = {}  # those whose own channel this is
        # Groups with synced members that share this channel.
        self.groups: dict[BroadcastGroup, None] = {}

    @property
    def subscriber_count(self) -> int:
        """The number of connections that follow it."""
        shared = sum(len(group.members) for group in self.groups)
        return len(self.unsynced) + len(self.synced) + shared

    def set_position(self, position: Position) -> None:
        """Set the position of the first synced connection."""
        self.position = position
        self._before_offset = f"{part_prefix(self.channel)}{position.epoch}-"
        self.cursor_part = f"{self._before_offset}{to_base62(position.offset)}".encode()

    def clear_position(self) -> None:
        """No connection is synced any more."""
        self.position, self.cursor_part = None, b""

    def advance(self, events: Sequence[Event], now: float) -> list[bytes] | None:
        """Advance the position by these events.

        Return the channel's part of the cursor at each event (empty for an ephemeral event), or
        None, without a change, when the events do not follow the position directly.
        """
        at = self.position
        if at is None:
            return None
        epoch, offset, part, parts = at.epoch, at.offset, self.cursor_part, []
        before_offset = self._before_offset
        for event in events:
            position = event.position
            if position is None:
                parts.append(b"")
                continue
            offset += 1
            if position.offset != offset or position.epoch != epoch:
                if not event.follows(at):
                    return None
                epoch = position.epoch
                before_offset = f"{part_prefix(self.channel)}{epoch}-"
            at, part = position, f"{before_offset}{to_base62(offset)}".encode()
            parts.append(part)
        self.position, self.cursor_part, self._before_offset = at, part, before_offset
        self.delivered += len(events)
        self.delivered_at = now
        return parts

    def behind(self, head: Position | None) -> list[Subscriber]:
        """Return the live connections that lack events up to a head; see cursor.is_behind."""
        lacking = [c for c in self.unsynced if c.is_behind(self.channel, head)]
        if self.position is not None and is_behind(self.position, head):
            lacking += self.all_synced()
        return lacking

    def all_synced(self) -> list[Subscriber]:
        """Return the synced connections that follow it, as their own channel or a shared one."""
        shared = [c for group in self.groups for c in group.members.values()]
        return [*self.synced, *shared]


class BroadcastGroup:
    """The synced connections that follow the same shared channels with the same encoder."""

    __slots__ = ("__weakref__", "cursor_suffix", "delivered_at", "encoder", "members", "shared")

    def __init__(self, encoder: EventEncoder, shared: Sequence[ChannelState]) -> None:
        self.encoder = encoder
        self.shared = shared  # in cursor order, after each member's own channel
        self.members: dict[ConnectionWriter, Subscriber] = {}
        self.cursor_suffix = b""  # the members' cursor after their own channel's part
        self.delivered_at = _NEVER  # when the last shared event was sent (the clock's seconds)

    def add(self, connection: Subscriber) -> None:
        """Add a connection that enters the synced state."""
        if not self.members:
            parts = [state.cursor_part for state in self.shared]
            self.cursor_suffix = b"".join([*parts, _CURSOR_END])
            for state in self.shared:
                state.groups[self] = None
        self.members[connection.writer] = connection

    def remove(self, connection: Subscriber) -> None:
        """Remove a connection that leaves the synced state."""
        del self.members[connection.writer]
        if self.members:
            return
        for state in self.shared:
            del state.groups[self]
            if not state.groups:
                state.clear_position()

    def advance(self, state: ChannelState, parts: Sequence[bytes]) -> list[bytes]:
        """Advance the cursor after a shared channel has advanced by these parts.

        Return the cursor after the own channel's part at each event (empty for an ephemeral one).
        """
        at = self.shared.index(state)
        before = b"".join([each.cursor_part for each in self.shared[:at]])
        after = b"".join([*(each.cursor_part for each in self.shared[at + 1 :]), _CURSOR_END])
        suffixes = [part and before + part + after for part in parts]
        self.cursor_suffix = before + state.cursor_part + after
        self.delivered_at = state.delivered_at
        return suffixes


class ChannelRegistry:
    """The states of all channels that a connection of this node follows."""

    def __init__(self) -> None:
        self.by_channel: dict[Channel, ChannelState] = {}  # callers read it and do not change it
        # By encoder and shared channel states. A group lives as long as a connection refers to it.
        self._groups: WeakValueDictionary[tuple[object, ...], BroadcastGroup] = (
            WeakValueDictionary()
        )

    def add(self, connection: Subscriber) -> None:
        """Register the connection with its channels; it begins unsynced."""
        states = []
        for channel in connection.channels:
            state = self.by_channel.get(channel)
            if state is None:
                state = self.by_channel[channel] = ChannelState(channel)
            state.unsynced[connection] = None
            states.append(state)
        own, *shared = states
        key = (connection.encoder, *shared)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = BroadcastGroup(connection.encoder, shared)
        connection.attach_channels(own, group)

    def remove(self, connection: Subscriber) -> list[Channel]:
        """Remove the connection. Return the channels that no connection follows any more."""
        connection.leave_sync()
        return self._unsubscribe(connection, connection.channels)

    def set_channels(self, connection: Subscriber, channels: Sequence[Channel]) -> list[Channel]:
        """Replace the channels of a connection, whose own channel stays the first; it becomes
        unsynced. Return the channels that no connection follows any more.
        """
        dropped = [channel for channel in connection.channels if channel not in channels]
        connection.set_channels(channels)
        self.add(connection)
        return self._unsubscribe(connection, dropped)

    def _unsubscribe(self, connection: Subscriber, channels: Sequence[Channel]) -> list[Channel]:
        unused = []
        for channel in channels:
            state = self.by_channel.get(channel)
            if state is None:
                continue
            state.unsynced.pop(connection, None)
            if not (state.unsynced or state.synced or state.groups):
                del self.by_channel[channel]
                unused.append(channel)
        return unused
