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

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from hub.core.channel import Channel
from hub.core.cursor import Position, format_part
from hub.core.event import Event
from hub.ports import Sink, Transport

if TYPE_CHECKING:
    from hub.engine.connection import Connection

_NEVER: Final = float("-inf")


class Track:
    """One channel as this node sees it."""

    __slots__ = (
        "apart",
        "audiences",
        "channel",
        "delivered",
        "delivered_at",
        "in_step",
        "part",
        "position",
    )

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.position: Position | None = None
        self.part = b""  # the position as text: what stands for this channel in a cursor
        self.delivered = 0  # events handed to those in step
        self.delivered_at = _NEVER
        self.apart: dict[Connection, None] = {}
        self.in_step: dict[Connection, None] = {}  # whose own channel this is
        self.audiences: dict[Audience, None] = {}  # with somebody in step, who share this channel

    def move(self, position: Position | None, part: bytes) -> None:
        """The channel stands there now."""
        self.position, self.part = position, part

    def take(self, events: Sequence[Event], now: float) -> list[tuple[Event, bytes]] | None:
        """What those in step must get of these events, each with its part of the cursor (none for
        an ephemeral one); None when there is a hole before one.
        """
        at, part = self.position, self.part
        if at is None:
            return []
        fresh = []
        for event in events:
            position = event.position
            if position is None:
                fresh.append((event, b""))
            elif position.epoch != at.epoch or position.offset > at.offset + 1:
                return None
            elif position.offset == at.offset + 1:
                at, part = position, format_part(self.channel, position).encode()
                fresh.append((event, part))
        self.move(at, part)
        self.delivered += len(fresh)
        self.delivered_at = now
        return fresh

    def everyone_in_step(self) -> list[Connection]:
        """Those in step, for whatever reason they follow the channel."""
        shared = [c for audience in self.audiences for c in audience.members.values()]
        return [*self.in_step, *shared]


class Audience:
    """Those in step who follow the same shared channels over the same transport."""

    __slots__ = ("__weakref__", "members", "shared", "transport")

    def __init__(self, transport: Transport, shared: Sequence[Track]) -> None:
        self.transport = transport
        self.shared = shared  # in the cursor's order, behind each one's own channel
        self.members: dict[Sink, Connection] = {}

    def rest_of_cursor(self, track: Track | None = None, part: bytes = b"") -> bytes:
        """The members' cursor behind their own channel's part; with `part` for a track's."""
        return b"".join([part if each is track else each.part for each in self.shared])


class Tracks:
    """All channels that somebody on this node follows."""

    def __init__(self) -> None:
        self._tracks: dict[Channel, Track] = {}
        self._audiences: WeakValueDictionary[tuple[object, ...], Audience] = WeakValueDictionary()

    def get(self, channel: Channel) -> Track | None:
        """The channel's track, while it has a follower."""
        return self._tracks.get(channel)

    def channels(self) -> Collection[Channel]:
        """The channels that somebody follows."""
        return self._tracks.keys()

    def add(self, connection: Connection) -> None:
        """The connection follows its channels from now on; it begins apart."""
        tracks = []
        for channel in connection.channels:
            track = self._tracks.get(channel)
            if track is None:
                track = self._tracks[channel] = Track(channel)
            track.apart[connection] = None
            tracks.append(track)
        own, *shared = tracks
        shape = (connection.transport, *shared)
        audience = self._audiences.get(shape)
        if audience is None:
            audience = self._audiences[shape] = Audience(connection.transport, shared)
        connection.follow(own, audience)

    def remove(self, connection: Connection) -> list[Channel]:
        """It follows them no more. Returns the channels that nobody follows now."""
        connection.step_out()
        empty = []
        for channel in connection.channels:
            track = self._tracks.get(channel)
            if track is None:
                continue
            track.apart.pop(connection, None)
            if not (track.apart or track.in_step or track.audiences):
                del self._tracks[channel]
                empty.append(channel)
        return empty
