"""The channels whose new events this process receives.

There is one PubSubConnection (client/pubsub.py) for each server. A channel is subscribed to on the
server of its partition.

Rules:
1. `_channels` holds every channel that is subscribed to or lingers, by its pub/sub name.
2. When partitions move, their channels migrate to the connection of the new server, which then
   reports a resubscription, because events may have been missed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from hub.backends.redis.client import RedisClient, channel_keys
from hub.backends.redis.client.pubsub import PubSubConnection, PubSubTimeouts
from hub.backends.redis.client.topology import RedisServer
from hub.backends.redis.events import parse_announcement
from hub.core.channel import Channel
from hub.core.event import Event
from hub.engine.tasks import Supervisor, SystemClock


class RedisSubscriptions:
    """Implements ports.events.Subscriptions."""

    def __init__(self, client: RedisClient, timeouts: PubSubTimeouts | None = None) -> None:
        self._client = client
        self._timeouts = timeouts or PubSubTimeouts(reply_timeout_seconds=client.timeout_seconds)
        self._connections: dict[RedisServer, PubSubConnection] = {}
        self._channels: dict[bytes, tuple[Channel, PubSubConnection]] = {}  # see rule 1
        self._topology_changed = asyncio.Event()
        self._on_events: Callable[[Sequence[Event]], None] = lambda events: None
        self._on_resubscribed: Callable[[], None] = lambda: None
        client.on_topology_change(self._topology_changed.set)
        for server in client.servers():
            self._connection_to(server)

    @property
    def is_synced(self) -> bool:
        """Whether every subscription is acknowledged, as far as this process can tell."""
        return all(connection.is_synced for connection in self._connections.values())

    @property
    def disconnects(self) -> int:
        """Number of lost connections."""
        return sum(connection.disconnects for connection in self._connections.values())

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """See ports.events.Subscriptions.listen."""
        self._on_events, self._on_resubscribed = on_events, on_resubscribed

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """See ports.events.Subscriptions.subscribe."""
        waiting = []
        for channel in channels:
            keys = channel_keys(channel)
            name = self._name(channel)
            connection = self._connection_to(self._client.server_of(keys.partition))
            self._move(channel, name, connection)
            waiter = connection.subscribe(name)
            if waiter is not None:
                waiting.append(waiter)
        for waiter in waiting:
            error = await waiter
            if error is not None:
                raise error

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """See ports.events.Subscriptions.unsubscribe."""
        for channel in channels:
            name = self._name(channel)
            if name in self._channels:
                self._channels[name][1].unsubscribe(name)

    def restore(self, channels: Collection[Channel]) -> None:
        """See ports.events.Subscriptions.restore."""
        names = map(self._name, channels)
        connections = {self._channels[name][1] for name in names if name in self._channels}
        for connection in connections:
            connection.reconnect("events of its channels are in the log and did not arrive")
        self._client.mark_topology_stale()

    async def run(self) -> None:
        """See ports.events.Subscriptions.run."""
        async with Supervisor(SystemClock()) as tasks:
            running: set[RedisServer] = set()
            while True:
                self._topology_changed.clear()
                for server in self._client.servers():
                    self._connection_to(server)
                self._migrate_channels()
                for server in self._connections.keys() - running:
                    tasks.start(_task_name(server), self._connections[server].run)
                    running.add(server)
                for server in running - set(self._client.servers()):
                    del self._connections[server]
                    running.discard(server)
                    await tasks.end(_task_name(server))
                await self._topology_changed.wait()

    def _name(self, channel: Channel) -> bytes:
        """Return the name of the pub/sub channel that announces the events of a channel."""
        return self._client.name(channel_keys(channel).log).encode()

    def _connection_to(self, server: RedisServer) -> PubSubConnection:
        """Return the connection to a server; `run` opens it.

        The topology may have changed before `run` has noticed, so the connection may be new.
        """
        connection = self._connections.get(server)
        if connection is None:
            connection = self._connections[server] = PubSubConnection(
                server,
                self._client.connect,
                self._timeouts,
                sharded=self._client.sharded,
                on_messages=self._on_messages,
                on_resubscribed=self._on_connection_resubscribed,
                on_unsubscribed=self._on_unsubscribed,
                on_failure=self._client.mark_topology_stale,
            )
            self._topology_changed.set()
        return connection

    def _migrate_channels(self) -> None:
        for name, (channel, _) in list(self._channels.items()):
            owner = self._connection_to(self._client.server_of(channel_keys(channel).partition))
            self._move(channel, name, owner)

    def _move(self, channel: Channel, name: bytes, owner: PubSubConnection) -> None:
        """Have a channel belong to a connection, and migrate it from the one that it had."""
        before = self._channels.get(name)
        self._channels[name] = channel, owner
        if before is not None and before[1] is not owner:
            owner.migrate_from(name, before[1])

    def _on_messages(self, messages: Sequence[list[bytes]]) -> None:
        channels, events = self._channels, list[Event]()
        for _, name, payload in messages:
            entry = channels.get(name)
            if entry is not None:
                parse_announcement(entry[0], payload, events)
        self._on_events(events)

    def _on_connection_resubscribed(self) -> None:
        self._on_resubscribed()

    def _on_unsubscribed(self, name: bytes) -> None:
        self._channels.pop(name, None)


def _task_name(server: RedisServer) -> str:
    return f"subscriptions at {server}"
