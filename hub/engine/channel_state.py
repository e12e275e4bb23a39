"""Which connections follow which channel, and which of them stand exactly where the channel stands.

A connection is *in step* when it has been handed everything that this node has heard of each of its
channels, and nothing waits for its socket. Then it needs no memory of its own: its channels' tracks
say where it stands, and the next event is the same bytes for all who follow the same shared
channels, but for each one's own part of the cursor. Everyone else (joining, filling a gap, with a
full socket) is *apart*: it has positions of its own and is looked at one by one.

Rules:
1. A follower is, for every one of its tracks, either apart or in step; the same for all of them.
2. A track has a position exactly while somebody is in step with it, and nobody is in step who
   stands elsewhere: the first one in step says where the track stands.
3. Events are taken in order. A hole, or another epoch, sends everyone apart, to read the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from hub.core.channel import Channel
from hub.core.cursor import Position, part_prefix, to_base62
from hub.core.event import Event
from hub.ports.connections import ConnectionWriter, EventEncoder

if TYPE_CHECKING:
    from hub.engine.connection import Connection

_NEVER: Final = float("-inf")


class ChannelState:
    """One channel as this node sees it."""

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
        self.position: Position | None = None
        self.cursor_part = b""  # the position as text: what stands for this channel in a cursor
        self.delivered = 0  # events handed to those in step
        self.delivered_at = _NEVER
        self.unsynced: dict[Connection, None] = {}
        self.synced: dict[Connection, None] = {}  # whose own channel this is
        self.groups: dict[
            BroadcastGroup, None
        ] = {}  # with somebody in step, who share this channel
        self._before_offset = ""  # the part of the cursor, without its end

    @property
    def subscriber_count(self) -> int:
        """How many connections follow it."""
        shared = sum(len(audience.members) for audience in self.groups)
        return len(self.unsynced) + len(self.synced) + shared

    def set_position(self, position: Position) -> None:
        """The first one in step stands here."""
        self.position = position
        self._before_offset = f"{part_prefix(self.channel)}{position.epoch}-"
        self.cursor_part = f"{self._before_offset}{to_base62(position.offset)}".encode()

    def clear_position(self) -> None:
        """Nobody is in step any more."""
        self.position, self.cursor_part = None, b""

    def advance(self, events: Sequence[Event], now: float) -> list[bytes] | None:
        """Moves on by these events and returns each one's part of the cursor (none for an ephemeral
        one); None, and nothing moves, when they are not just the next ones.
        """
        at = self.position
        if at is None:
            return None
        epoch, offset, part, parts = at.epoch, at.offset, self.cursor_part, []
        for event in events:
            position = event.position
            if position is None:
                parts.append(b"")
                continue
            offset += 1
            if position.offset != offset or position.epoch != epoch:
                return None
            at, part = position, f"{self._before_offset}{to_base62(offset)}".encode()
            parts.append(part)
        self.position, self.cursor_part = at, part
        self.delivered += len(events)
        self.delivered_at = now
        return parts

    def all_synced(self) -> list[Connection]:
        """Those in step, for whatever reason they follow the channel."""
        shared = [c for audience in self.groups for c in audience.members.values()]
        return [*self.synced, *shared]


class BroadcastGroup:
    """Those in step who follow the same shared channels over the same transport."""

    __slots__ = ("__weakref__", "cursor_suffix", "delivered_at", "members", "shared", "transport")

    def __init__(self, transport: EventEncoder, shared: Sequence[ChannelState]) -> None:
        self.transport = transport
        self.shared = shared  # in the cursor's order, behind each one's own channel
        self.members: dict[ConnectionWriter, Connection] = {}
        self.cursor_suffix = b""  # the members' cursor behind their own channel's part
        self.delivered_at = _NEVER

    def add(self, connection: Connection) -> None:
        """One more in step."""
        if not self.members:
            self.cursor_suffix = b"".join([track.cursor_part for track in self.shared])
            for track in self.shared:
                track.groups[self] = None
        self.members[connection.writer] = connection

    def remove(self, connection: Connection) -> None:
        """One less."""
        del self.members[connection.writer]
        if self.members:
            return
        for track in self.shared:
            del track.groups[self]
            if not track.groups:
                track.clear_position()

    def advance(self, track: ChannelState, parts: Sequence[bytes]) -> list[bytes]:
        """A shared channel moved on by these parts of the cursor: its rest at each of them."""
        at = self.shared.index(track)
        before = b"".join([each.cursor_part for each in self.shared[:at]])
        after = b"".join([each.cursor_part for each in self.shared[at + 1 :]])
        rests = [part and before + part + after for part in parts]
        self.cursor_suffix = before + track.cursor_part + after
        self.delivered_at = track.delivered_at
        return rests


class ChannelRegistry:
    """All channels that somebody on this node follows."""

    def __init__(self) -> None:
        self.by_channel: dict[Channel, ChannelState] = {}  # for looking at, not for changing
        self._groups: WeakValueDictionary[tuple[object, ...], BroadcastGroup] = (
            WeakValueDictionary()
        )

    def add(self, connection: Connection) -> None:
        """The connection follows its channels from now on; it begins apart."""
        tracks = []
        for channel in connection.channels:
            track = self.by_channel.get(channel)
            if track is None:
                track = self.by_channel[channel] = ChannelState(channel)
            track.unsynced[connection] = None
            tracks.append(track)
        own, *shared = tracks
        shape = (connection.encoder, *shared)
        audience = self._groups.get(shape)
        if audience is None:
            audience = self._groups[shape] = BroadcastGroup(connection.encoder, shared)
        connection.attach_channels(own, audience)

    def remove(self, connection: Connection) -> list[Channel]:
        """It follows them no more. Returns the channels that nobody follows now."""
        connection.leave_sync()
        return self._unsubscribe(connection, connection.channels)

    def set_channels(self, connection: Connection, channels: Sequence[Channel]) -> list[Channel]:
        """It follows these instead, apart; its own channel stays the first. Returns as `remove`."""
        dropped = [channel for channel in connection.channels if channel not in channels]
        connection.set_channels(channels)
        self.add(connection)
        return self._unsubscribe(connection, dropped)

    def _unsubscribe(self, connection: Connection, channels: Sequence[Channel]) -> list[Channel]:
        empty = []
        for channel in channels:
            track = self.by_channel.get(channel)
            if track is None:
                continue
            track.unsynced.pop(connection, None)
            if not (track.unsynced or track.synced or track.groups):
                del self.by_channel[channel]
                empty.append(channel)
        return empty
