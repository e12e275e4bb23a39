"""Who is here, and what reaches them.

The way of a connection: register → catch up (catch_up.py) → live → leave. Registered first, so that
nothing published after the log was read can pass unheard.

The way of an event: the broker announces it, with whatever else came in the same tick → its
channel's track → all who follow it (delivery.py).

Rules:
1. A connection is in the tracks exactly between `begin` and `_leave`.
2. No await between reading shared state and changing it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from hub.core.channel import Channel
from hub.core.close import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.attendance import Attendance
from hub.engine.catch_up import CatchUp
from hub.engine.connection import Connection
from hub.engine.counts import Counts
from hub.engine.delivery import deliver
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.lifetimes import Lifetime, Lifetimes
from hub.engine.tracks import Tracks
from hub.errors import NodeBusy
from hub.ports import Broker, Clock

_WAVE_SECONDS: Final = 0.1
_SPREAD_MS: Final = 1  # for each connection: about a thousand return in a second
_MOST_SPREAD_MS: Final = 30_000
_log = structlog.get_logger(__name__)


class FanoutLimits(msgspec.Struct, frozen=True, kw_only=True):
    """None means off. max_connections: at once; who comes then is sent away. max_per_user: of them;
    the newest wins. joins_per_second: more wait for their turn, with their stream open.
    """

    max_connections: int | None = None
    max_per_user: int | None = None
    joins_per_second: float | None = None


NO_LIMITS: Final = FanoutLimits()


class Fanout:
    """All live connections of this node."""

    def __init__(
        self,
        broker: Broker,
        wheel: HeartbeatWheel,
        clock: Clock,
        *,
        node: str,
        heartbeat_seconds: float,
        limits: FanoutLimits = NO_LIMITS,
        attendance: Attendance | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._wheel = wheel
        self._tracks = Tracks()
        self._here: dict[Connection, None] = {}
        self._limits = limits
        self._attendance = attendance
        self._counts = counts or Counts()
        self._catch_up = CatchUp(
            broker,
            wheel,
            clock,
            self._counts,
            node=node,
            heartbeat_seconds=heartbeat_seconds,
            joins_per_second=limits.joins_per_second,
        )
        self._watched: dict[Channel, Callable[[], None]] = {}
        self._of_user: dict[str, dict[Connection, None]] = {}
        self._retired = False
        self._draining = False
        self._spread_ms = 0
        self._at_address: Counter[str] = Counter()
        self.lifetimes = Lifetimes(clock)
        broker.listen(self.deliver, self.fill_gaps)

    def __len__(self) -> int:
        return len(self._here)

    @property
    def connections(self) -> Collection[Connection]:
        """Who is here."""
        return self._here.keys()

    @property
    def users(self) -> int:
        """How many different users are here."""
        return len(self._of_user)

    @property
    def draining(self) -> bool:
        """Whether the node is leaving: no longer ready, though it may still serve."""
        return self._retired

    def deliver(self, events: Sequence[Event]) -> None:
        """What the broker announced in one tick, to everyone here who follows its channels."""
        now = self._clock.now()
        by_channel: dict[Channel, list[Event]] = {}
        for event in events:
            run = by_channel.get(event.channel)
            if run is None:
                by_channel[event.channel] = [event]
            else:
                run.append(event)
        for channel, run in by_channel.items():
            track = self._tracks.by_channel.get(channel)
            if track is not None:
                deliver(track, run, now)
            elif channel in self._watched:
                self._watched[channel]()

    def watch(self, channel: Channel, heard: Callable[[], None]) -> None:
        """Who is told when events of a channel come that no connection follows."""
        self._watched[channel] = heard

    def is_followed(self, channel: Channel) -> bool:
        """Whether a connection here follows it."""
        return channel in self._tracks.by_channel

    def followers(self, channel: Channel) -> int:
        """How many connections here follow it."""
        track = self._tracks.by_channel.get(channel)
        return 0 if track is None else track.followers

    @property
    def catching_up(self) -> int:
        """How many join, or read the log."""
        return len(self._catch_up)

    def at_address(self, address: str | None) -> int:
        """How many are here from the same address."""
        return self._at_address[address] if address is not None else 0

    def of_user(self, user: str) -> Collection[Connection]:
        """The user's connections here, oldest first."""
        return self._of_user.get(user, {}).keys()

    def check_room(self) -> None:
        """Raises NodeBusy when `begin` would send everybody away."""
        if self._draining:
            raise NodeBusy("this node is draining; try again")
        if self._is_full():
            raise NodeBusy("this node holds as many streams as it may; try again")

    def _is_full(self) -> bool:
        most = self._limits.max_connections
        return most is not None and len(self._here) >= most

    def begin(
        self,
        connection: Connection,
        cursor: Mapping[Channel, Position],
        lifetime: Lifetime | None = None,
    ) -> None:
        """A connection's life begins; it ends by `hub.bye` or by the client's leaving.

        `cursor` says after which position each channel begins; a channel that is not in it begins
        live, and FROM_START replays all that the log holds.
        """
        _log.info("connection.opened", connection=connection.name, user=connection.user)
        self._counts.opened[connection.transport.label] += 1
        connection.on_end = self._leave
        if self._draining:
            connection.close(CloseReason.DRAINING, later_ms=self._later_ms())
            return
        most_of_a_user = self._limits.max_per_user
        if self._is_full():
            connection.close(CloseReason.FULL)
            return
        mates = self._of_user.setdefault(connection.user, {})
        if most_of_a_user is not None and len(mates) >= most_of_a_user:
            next(iter(mates)).close(CloseReason.REPLACED)
            mates = self._of_user.setdefault(connection.user, {})
        mates[connection] = None
        self._here[connection] = None
        if connection.address is not None:
            self._at_address[connection.address] += 1
        if lifetime is not None:
            self.lifetimes.add(connection, lifetime)
        self._tracks.add(connection)
        if self._attendance is not None:
            self._attendance.came(connection.user, connection.channels)
        connection.on_gap = self._catch_up.fill_gap
        self._catch_up.join(connection, cursor)

    async def serve(
        self, connection: Connection, cursor: Mapping[Channel, Position]
    ) -> CloseReason:
        """The same for a caller that waits for its end; cancelled, the client has left."""
        self.begin(connection, cursor)
        try:
            return await connection.ended()
        finally:
            connection.lost()

    async def turn(self, connection: Connection, channels: Sequence[Channel]) -> None:
        """The connection follows these channels from now on; those that are new begin live. Returns
        when it is live again, or has ended.
        """
        await self._catch_up.until_live(connection)
        if connection.closed is not None:
            return
        before = connection.channels
        fresh = [channel for channel in channels if channel not in before]
        if self._attendance is not None:
            self._attendance.came(connection.user, fresh)
            self._attendance.went(connection.user, [c for c in before if c not in channels])
        self._broker.unsubscribe(self._tracks.change(connection, channels))
        self._catch_up.follow(connection, fresh)
        await self._catch_up.until_live(connection)

    def retire(self) -> None:
        """Not ready, but serving: until the load balancer has noticed, and `drain` begins."""
        self._retired = True

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Sends everyone away in waves, over so many seconds or, in a hurry, at once. Each is told
        to return at a time of its own, so that they do not return together. So is whoever comes.
        """
        self._retired = self._draining = True
        if self._attendance is not None:
            self._attendance.drain()
        self._spread_ms = min(_MOST_SPREAD_MS, len(self._here) * _SPREAD_MS)
        waves = max(1, round(seconds / _WAVE_SECONDS))
        for left in range(waves, 0, -1):
            here = tuple(self._here)
            for connection in here[: math.ceil(len(here) / left)]:
                connection.close(CloseReason.DRAINING, later_ms=self._later_ms())
            if not self._here:
                return
            if left > 1 and not hurry.is_set():
                await self._clock.sleep(_WAVE_SECONDS)

    def _later_ms(self) -> int:
        return random.randint(0, self._spread_ms)

    def fill_gaps(self) -> None:
        """Announcements may have been missed: every connection reads the log again."""
        for connection in self._here:
            self._catch_up.fill_gap(connection)

    def _leave(self, connection: Connection) -> None:
        reason = connection.closed or CloseReason.CLIENT_LEFT
        self._counts.closed[reason.label] += 1
        self._counts.delivered[connection.transport.label] += connection.events
        _log.info(
            "connection.closed",
            connection=connection.name,
            user=connection.user,
            reason=reason.label,
            seconds=round(self._clock.now() - connection.begun, 3),
            events=connection.events,
            bytes=connection.sink.sent_bytes(),
        )
        if connection not in self._here:
            return  # sent away at once
        del self._here[connection]
        mates = self._of_user[connection.user]
        del mates[connection]
        if not mates:
            del self._of_user[connection.user]
        address = connection.address
        if address is not None:
            self._at_address[address] -= 1
            if not self._at_address[address]:
                del self._at_address[address]
        self._wheel.remove(connection)
        self.lifetimes.remove(connection)
        self._catch_up.leave(connection)
        if self._attendance is not None:
            self._attendance.went(connection.user, connection.channels)
        self._broker.unsubscribe(self._tracks.remove(connection))
