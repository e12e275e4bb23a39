"""The open connections of this node: admission, limits, drain, and the events that reach them.

The path of a connection: attach (register with its channels) → recovery (recovery.py) → live →
detach. It is registered before the log is read, so that no event published after the read is
missed.

The path of an event: the broker announces it, together with the others of the same event loop
iteration → the state of its channel → every connection that follows it (broadcast.py).

Rules:
1. A connection is in the channel states exactly between `attach` and `_detach`.
2. There is no await between reading shared state and changing it.
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

from hub.core.channel import CONSOLE_USER, Channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.topic_budget import TopicBudget
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.broadcast import broadcast
from hub.engine.streams.channel_state import ChannelRegistry
from hub.engine.streams.connection import Connection
from hub.engine.streams.expiry import ConnectionExpiry, ExpiryTimer
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.streams.recovery import Recovery
from hub.engine.streams.topic_presence import TopicPresence
from hub.engine.streams.user_presence import UserPresence
from hub.error_codes import NODE_DRAINING, NODE_FULL, TOO_MANY_NEW_TOPICS
from hub.errors import NodeBusy, TooManyRequests
from hub.ports.clock import Clock
from hub.ports.events import EventReader, Subscriptions

MAX_CONSOLE_STREAMS: Final = 50
_WAVE_SECONDS: Final = 0.1
_SPREAD_MS: Final = 1  # for each connection: about 1,000 clients reconnect in a second
_MAX_SPREAD_MS: Final = 30_000
_log = structlog.get_logger(__name__)


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one node; None means no limit.

    max_connections: open connections; further ones are closed with the reason `full`.
    max_per_user: open connections of one user; a new one replaces the oldest.
    Streams of the console count in neither: a node has at most MAX_CONSOLE_STREAMS of them, so
    that operators can look at a full node.
    joins_per_second: connections that may join in one second; the others wait with an open stream.
    max_new_topics_per_minute: topics of one user, see TopicBudget.
    """

    max_connections: int | None
    max_per_user: int | None
    joins_per_second: float | None
    max_new_topics_per_minute: int | None = None


NO_LIMITS: Final = ConnectionLimits(max_connections=None, max_per_user=None, joins_per_second=None)


class Connections:
    """The registry of open connections.

    node: the node's name, and heartbeat_seconds, are sent in `hub.open`. topic_presence: None if
    no topic has presence events. user_presence: None if no webhook tells who is connected.
    """

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
        user_presence: UserPresence | None = None,
        metrics: NodeMetrics | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._clock = clock
        self._wheel = wheel
        self._channels = ChannelRegistry()
        self._connections: dict[Connection, None] = {}  # oldest first
        self._limits = limits
        max_topics = limits.max_new_topics_per_minute
        self._topic_budget = None if max_topics is None else TopicBudget(max_topics)
        self._topic_presence = topic_presence
        self._user_presence = user_presence
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
        self._taps: dict[Channel, Callable[[], None]] = {}  # see `tap`
        self._by_user: dict[str, list[Connection]] = {}  # oldest first
        self._by_address: Counter[str] = Counter()  # the number of connections
        self._unready = False  # reported as not ready, while it still serves
        self._draining = False  # new connections are closed at once
        self._spread_ms = 0  # how far reconnects are spread while it drains
        self.expiry_timer = ExpiryTimer(clock)
        self._delivered: Counter[str] = Counter()  # to connections that have ended, by transport
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
        """The open connections, oldest first."""
        return self._connections.keys()

    @property
    def users(self) -> int:
        """The number of users with an open connection."""
        return len(self._by_user)

    @property
    def draining(self) -> bool:
        """Whether the node is no longer ready, although it may still serve."""
        return self._unready

    def deliver(self, events: Sequence[Event]) -> None:
        """Send the events of one event loop iteration to the followers of their channels."""
        now = self._clock.now()
        by_channel: dict[Channel, list[Event]] = {}
        for event in events:
            channel_events = by_channel.get(event.channel)
            if channel_events is None:
                by_channel[event.channel] = [event]
            else:
                channel_events.append(event)
        for channel, channel_events in by_channel.items():
            state = self._channels.by_channel.get(channel)
            if state is not None:
                broadcast(state, channel_events, now)
            elif channel in self._taps:
                self._taps[channel]()

    def tap(self, channel: Channel, callback: Callable[[], None]) -> None:
        """Call `callback` when events of a channel arrive that no connection follows."""
        self._taps[channel] = callback

    def has_subscribers(self, channel: Channel) -> bool:
        """Return whether a connection of this node follows the channel."""
        return channel in self._channels.by_channel

    def subscriber_count(self, channel: Channel) -> int:
        """Return the number of connections of this node that follow the channel."""
        state = self._channels.by_channel.get(channel)
        return 0 if state is None else state.subscriber_count

    @property
    def recovering(self) -> int:
        """The number of connections that join or read the log."""
        return len(self._recovery)

    def count_at_address(self, address: str | None) -> int:
        """Return the number of connections from a client address; 0 if it is not known."""
        return self._by_address[address] if address is not None else 0

    def by_user(self, user: str) -> Collection[Connection]:
        """Return the user's connections on this node, oldest first."""
        return self._by_user.get(user, ())

    def check_new_topics(self, user: str, topics: Sequence[str]) -> None:
        """Raise TooManyRequests when a user follows too many new topics."""
        if self._topic_budget is None:
            return
        wait_seconds = self._topic_budget.take(user, topics, self._clock.now())
        if wait_seconds > 0:
            raise TooManyRequests(
                f"a user may follow {self._limits.max_new_topics_per_minute} new topics a minute",
                code=TOO_MANY_NEW_TOPICS,
                limit="topics",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )

    def check_capacity(self) -> None:
        """Raise NodeBusy when `attach` would close every connection at once."""
        if self._draining:
            raise NodeBusy("this node is draining; try again", code=NODE_DRAINING)
        if self._is_full(is_console=False):
            raise NodeBusy("this node has reached its limit of streams; try again", code=NODE_FULL)

    def _is_full(self, *, is_console: bool) -> bool:
        consoles = len(self.by_user(CONSOLE_USER))
        if is_console:
            return consoles >= MAX_CONSOLE_STREAMS
        limit = self._limits.max_connections
        return limit is not None and len(self._connections) - consoles >= limit

    def attach(
        self,
        connection: Connection,
        cursor: Mapping[Channel, Position],
        expiry: ConnectionExpiry | None = None,
    ) -> None:
        """Register the connection and start its recovery.

        It stays until the hub closes it or the client disconnects; if the node cannot take it, it
        is closed at once. cursor: the position after which each channel begins; a channel without
        one begins live, and FROM_START replays everything in the log. expiry: when it must end.
        """
        _log.info("connection.opened", connection=connection.id, user=connection.user)
        self._metrics.opened[connection.encoder.label] += 1
        connection.on_end = self._detach
        if self._draining:
            connection.close(CloseReason.DRAINING, later_ms=self._reconnect_jitter_ms())
            return
        is_console = connection.user == CONSOLE_USER
        if self._is_full(is_console=is_console):
            connection.close(CloseReason.FULL)
            return
        max_per_user = None if is_console else self._limits.max_per_user
        if max_per_user is not None and len(self.by_user(connection.user)) >= max_per_user:
            self._by_user[connection.user][0].close(CloseReason.REPLACED)
        user_connections = self._by_user.get(connection.user)
        if user_connections is not None:
            user_connections.append(connection)
        else:
            self._by_user[connection.user] = [connection]
            if self._user_presence is not None:
                self._user_presence.connected(connection.user)
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
        """Attach the connection and wait for its end. Return the reason.

        Cancelling the wait counts as a client that disconnects.
        """
        self.attach(connection, cursor)
        try:
            return await connection.wait_closed()
        finally:
            connection.on_disconnect()

    async def set_channels(self, connection: Connection, channels: Sequence[Channel]) -> None:
        """Replace the channels of a connection; the new ones begin live.

        Return when the connection is live again, or has ended.
        """
        await self._recovery.wait_live(connection)
        if connection.close_reason is not None:
            return
        before = connection.channels
        new_channels = [channel for channel in channels if channel not in before]
        if self._topic_presence is not None:
            self._topic_presence.joined(connection.user, new_channels)
            self._topic_presence.left(connection.user, [c for c in before if c not in channels])
        self._subscriptions.unsubscribe(self._channels.set_channels(connection, channels))
        self._recovery.add_channels(connection, new_channels)
        await self._recovery.wait_live(connection)

    def mark_unready(self) -> None:
        """Report the node as not ready; it still serves, until the load balancer has noticed and
        `drain` is called.
        """
        self._unready = True

    async def drain(self, seconds: float, force: asyncio.Event) -> None:
        """Close every connection, in waves over `seconds`, or all at once when `force` is set.

        Each client gets its own time to reconnect, so that they do not reconnect together.
        Connections that are attached meanwhile are closed in the same way.
        """
        self._unready = self._draining = True
        if self._topic_presence is not None:
            self._topic_presence.drain()
        if self._user_presence is not None:
            self._user_presence.drain()
        self._spread_ms = min(_MAX_SPREAD_MS, len(self._connections) * _SPREAD_MS)
        waves = max(1, round(seconds / _WAVE_SECONDS))
        for waves_left in range(waves, 0, -1):
            connections = tuple(self._connections)
            for connection in connections[: math.ceil(len(connections) / waves_left)]:
                connection.close(CloseReason.DRAINING, later_ms=self._reconnect_jitter_ms())
            if not self._connections:
                return
            if waves_left > 1 and not force.is_set():
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

    def followed_channels(self) -> list[Channel]:
        """Return the channels that a connection of this node follows."""
        return list(self._channels.by_channel)

    def is_behind(self, channel: Channel, head: Position | None) -> bool:
        """Return whether a live connection lacks events of a channel up to its head."""
        state = self._channels.by_channel.get(channel)
        return state is not None and bool(state.behind(head))

    def fill_gap(self, channel: Channel, head: Position | None) -> bool:
        """Make every connection that is behind read the log; return whether there is one."""
        state = self._channels.by_channel.get(channel)
        behind = state.behind(head) if state is not None else ()
        for connection in behind:
            connection.fill_gap()
        return bool(behind)

    def fill_gaps(self) -> None:
        """Make every connection read the log again, because announcements may have been missed."""
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
            return  # `attach` has closed it at once
        del self._connections[connection]
        user_connections = self._by_user[connection.user]
        user_connections.remove(connection)
        if not user_connections:
            del self._by_user[connection.user]
            if self._user_presence is not None:
                self._user_presence.disconnected(connection.user)
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
