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
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.engine.broadcast import broadcast
from hub.engine.channel_state import ChannelRegistry
from hub.engine.connection import Connection
from hub.engine.expiry import ConnectionExpiry, ExpiryTimer
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.node_metrics import NodeMetrics
from hub.engine.recovery import Recovery
from hub.engine.topic_presence import TopicPresence
from hub.errors import NodeBusy
from hub.ports.clock import Clock
from hub.ports.events import EventReader, Subscriptions

_WAVE_SECONDS: Final = 0.1
_SPREAD_MS: Final = 1  # for each connection: about a thousand return in a second
_MAX_SPREAD_MS: Final = 30_000
_log = structlog.get_logger(__name__)


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """None means off. max_connections: at once; who comes then is sent away. max_per_user: of them;
    the newest wins. joins_per_second: more wait for their turn, with their stream open.
    """

    max_connections: int | None
    max_per_user: int | None
    joins_per_second: float | None


NO_LIMITS: Final = ConnectionLimits(max_connections=None, max_per_user=None, joins_per_second=None)


class Connections:
    """All live connections of this node."""

    def __init__(
        self,
        events: EventReader,
        subscriptions: Subscriptions,
        wheel: HeartbeatWheel,
        clock: Clock,
        *,
        node: str,
        heartbeat_seconds: float,
        limits: ConnectionLimits = NO_LIMITS,
        topic_presence: TopicPresence | None = None,
        metrics: NodeMetrics | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._clock = clock
        self._wheel = wheel
        self._channels = ChannelRegistry()
        self._connections: dict[Connection, None] = {}
        self._limits = limits
        self._topic_presence = topic_presence
        self._metrics = metrics or NodeMetrics()
        self._recovery = Recovery(
            events,
            subscriptions,
            wheel,
            clock,
            self._metrics,
            node=node,
            heartbeat_seconds=heartbeat_seconds,
            joins_per_second=limits.joins_per_second,
        )
        self._taps: dict[Channel, Callable[[], None]] = {}
        self._by_user: dict[str, dict[Connection, None]] = {}
        self._unready = False
        self._draining = False
        self._spread_ms = 0
        self._by_address: Counter[str] = Counter()
        self.expiry_timer = ExpiryTimer(clock)
        self._delivered: Counter[str] = Counter()  # to closed connections, by transport
        self._metrics.connections.set_function(self._count_open)
        self._metrics.delivered.set_function(self._count_delivered)
        self._metrics.users.set_function(lambda: self.users)
        self._metrics.recovering.set_function(lambda: self.recovering)
        self._metrics.draining.set_function(lambda: int(self.draining))
        subscriptions.listen(self.deliver, self.fill_gaps)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> Collection[Connection]:
        """Who is here."""
        return self._connections.keys()

    @property
    def users(self) -> int:
        """How many different users are here."""
        return len(self._by_user)

    @property
    def draining(self) -> bool:
        """Whether the node is leaving: no longer ready, though it may still serve."""
        return self._unready

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
            track = self._channels.by_channel.get(channel)
            if track is not None:
                broadcast(track, run, now)
            elif channel in self._taps:
                self._taps[channel]()

    def tap(self, channel: Channel, callback: Callable[[], None]) -> None:
        """Who is told when events of a channel come that no connection follows."""
        self._taps[channel] = callback

    def has_subscribers(self, channel: Channel) -> bool:
        """Whether a connection here follows it."""
        return channel in self._channels.by_channel

    def subscriber_count(self, channel: Channel) -> int:
        """How many connections here follow it."""
        track = self._channels.by_channel.get(channel)
        return 0 if track is None else track.subscriber_count

    @property
    def recovering(self) -> int:
        """How many join, or read the log."""
        return len(self._recovery)

    def count_at_address(self, address: str | None) -> int:
        """How many are here from the same address."""
        return self._by_address[address] if address is not None else 0

    def by_user(self, user: str) -> Collection[Connection]:
        """The user's connections here, oldest first."""
        return self._by_user.get(user, {}).keys()

    def check_capacity(self) -> None:
        """Raises NodeBusy when `begin` would send everybody away."""
        if self._draining:
            raise NodeBusy("this node is draining; try again")
        if self._is_full():
            raise NodeBusy("this node holds as many streams as it may; try again")

    def _is_full(self) -> bool:
        most = self._limits.max_connections
        return most is not None and len(self._connections) >= most

    def attach(
        self,
        connection: Connection,
        cursor: Mapping[Channel, Position],
        expiry: ConnectionExpiry | None = None,
    ) -> None:
        """A connection's life begins; it ends by `hub.bye` or by the client's leaving.

        `cursor` says after which position each channel begins; a channel that is not in it begins
        live, and FROM_START replays all that the log holds.
        """
        _log.info("connection.opened", connection=connection.id, user=connection.user)
        self._metrics.opened[connection.encoder.label] += 1
        connection.on_end = self._detach
        if self._draining:
            connection.close(CloseReason.DRAINING, later_ms=self._reconnect_jitter_ms())
            return
        most_of_a_user = self._limits.max_per_user
        if self._is_full():
            connection.close(CloseReason.FULL)
            return
        mates = self._by_user.setdefault(connection.user, {})
        if most_of_a_user is not None and len(mates) >= most_of_a_user:
            next(iter(mates)).close(CloseReason.REPLACED)
            mates = self._by_user.setdefault(connection.user, {})
        mates[connection] = None
        self._connections[connection] = None
        if connection.address is not None:
            self._by_address[connection.address] += 1
        if expiry is not None:
            self.expiry_timer.add(connection, expiry)
        self._channels.add(connection)
        if self._topic_presence is not None:
            self._topic_presence.joined(connection.user, connection.channels)
        connection.on_gap = self._recovery.fill_gap
        self._recovery.start(connection, cursor)

    async def attach_and_wait(
        self, connection: Connection, cursor: Mapping[Channel, Position]
    ) -> CloseReason:
        """The same for a caller that waits for its end; cancelled, the client has left."""
        self.attach(connection, cursor)
        try:
            return await connection.wait_closed()
        finally:
            connection.on_disconnect()

    async def set_channels(self, connection: Connection, channels: Sequence[Channel]) -> None:
        """The connection follows these channels from now on; those that are new begin live. Returns
        when it is live again, or has ended.
        """
        await self._recovery.wait_live(connection)
        if connection.close_reason is not None:
            return
        before = connection.channels
        fresh = [channel for channel in channels if channel not in before]
        if self._topic_presence is not None:
            self._topic_presence.joined(connection.user, fresh)
            self._topic_presence.left(connection.user, [c for c in before if c not in channels])
        self._subscriptions.unsubscribe(self._channels.set_channels(connection, channels))
        self._recovery.add_channels(connection, fresh)
        await self._recovery.wait_live(connection)

    def mark_unready(self) -> None:
        """Not ready, but serving: until the load balancer has noticed, and `drain` begins."""
        self._unready = True

    async def drain(self, seconds: float, force: asyncio.Event) -> None:
        """Sends everyone away in waves, over so many seconds or, in a hurry, at once. Each is told
        to return at a time of its own, so that they do not return together. So is whoever comes.
        """
        self._unready = self._draining = True
        if self._topic_presence is not None:
            self._topic_presence.drain()
        self._spread_ms = min(_MAX_SPREAD_MS, len(self._connections) * _SPREAD_MS)
        waves = max(1, round(seconds / _WAVE_SECONDS))
        for left in range(waves, 0, -1):
            here = tuple(self._connections)
            for connection in here[: math.ceil(len(here) / left)]:
                connection.close(CloseReason.DRAINING, later_ms=self._reconnect_jitter_ms())
            if not self._connections:
                return
            if left > 1 and not force.is_set():
                await self._clock.sleep(_WAVE_SECONDS)

    def _count_open(self) -> Counter[str]:
        """Return the number of open connections by transport, 0 for those used before."""
        count = Counter(dict.fromkeys((str(label) for label in self._metrics.opened), 0))
        count.update(connection.encoder.label for connection in self._connections)
        return count

    def _count_delivered(self) -> Counter[str]:
        """Return the number of delivered events by transport: each connection counts its own."""
        count = Counter(self._delivered)
        for connection in self._connections:
            count[connection.encoder.label] += connection.events
        return count

    def _reconnect_jitter_ms(self) -> int:
        return random.randint(0, self._spread_ms)

    def fill_gaps(self) -> None:
        """Announcements may have been missed: every connection reads the log again."""
        for connection in self._connections:
            self._recovery.fill_gap(connection)

    def _detach(self, connection: Connection) -> None:
        reason = connection.close_reason or CloseReason.CLIENT_DISCONNECTED
        self._metrics.closed[reason.label] += 1
        self._delivered[connection.encoder.label] += connection.events
        _log.info(
            "connection.closed",
            connection=connection.id,
            user=connection.user,
            reason=reason.label,
            seconds=round(self._clock.now() - connection.connected_at, 3),
            events=connection.events,
            bytes=connection.writer.sent_bytes(),
        )
        if connection not in self._connections:
            return  # sent away at once
        del self._connections[connection]
        mates = self._by_user[connection.user]
        del mates[connection]
        if not mates:
            del self._by_user[connection.user]
        address = connection.address
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        self._wheel.remove(connection)
        self.expiry_timer.remove(connection)
        self._recovery.cancel(connection)
        if self._topic_presence is not None:
            self._topic_presence.left(connection.user, connection.channels)
        self._subscriptions.unsubscribe(self._channels.remove(connection))
