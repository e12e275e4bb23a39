"""The bell: hears the live events of every channel that this process needs.

One PubSubConnection (client/pubsub.py) for each server; a channel is subscribed to on the server
of its partition.

Rules:
1. `_channels` holds every channel that is wanted or lingers, by its pub/sub name.
2. When partitions move, their channels move to the new server's ear, which owes a relink: events
   may have been missed on the way.
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
    """Subscriptions of one process."""

    def __init__(self, client: RedisClient, timeouts: PubSubTimeouts | None = None) -> None:
        self._client = client
        self._timeouts = timeouts or PubSubTimeouts(reply_timeout_seconds=client.timeout_seconds)
        self._pubsub_connections: dict[RedisServer, PubSubConnection] = {}
        self._channels: dict[bytes, tuple[Channel, PubSubConnection]] = {}
        self._moved = asyncio.Event()
        self._on_events: Callable[[Sequence[Event]], None] = lambda events: None
        self._on_resubscribed: Callable[[], None] = lambda: None
        client.on_topology_change(self._moved.set)
        self._connect_to_servers()

    @property
    def is_synced(self) -> bool:
        """Whether everything that is wanted is heard, as far as this process can tell."""
        return all(ear.is_synced for ear in self._pubsub_connections.values())

    @property
    def disconnects(self) -> int:
        """How often a link for events broke."""
        return sum(ear.disconnects for ear in self._pubsub_connections.values())

    def listen(
        self, heard: Callable[[Sequence[Event]], None], relinked: Callable[[], None]
    ) -> None:
        """See ports.Broker.listen."""
        self._on_events, self._on_resubscribed = heard, relinked

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.subscribe."""
        waiting = []
        for channel in channels:
            keys = channel_keys(channel)
            name = keys.log.encode()
            ear = self._pubsub_connections[self._client.server_of(keys.partition)]
            self._channels[name] = channel, ear
            waiter = ear.subscribe(name)
            if waiter is not None:
                waiting.append(waiter)
        for waiter in waiting:
            await waiter

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.unsubscribe."""
        for channel in channels:
            name = channel_keys(channel).log.encode()
            if name in self._channels:
                self._channels[name][1].unsubscribe(name)

    async def run(self) -> None:
        """Hears until cancelled."""
        async with Supervisor(SystemClock()) as tasks:
            for place, ear in self._pubsub_connections.items():
                tasks.start(f"ear at {place}", ear.run)
            while True:
                await self._moved.wait()
                self._moved.clear()
                before = self._pubsub_connections.keys() - set(self._client.servers())
                for place in self._connect_to_servers():
                    tasks.start(f"ear at {place}", self._pubsub_connections[place].run)
                self._migrate_channels()
                for place in before:
                    del self._pubsub_connections[place]
                    await tasks.end(f"ear at {place}")

    def _connect_to_servers(self) -> list[RedisServer]:
        """An ear at every server that has none. Returns where they are."""
        fresh = [place for place in self._client.servers() if place not in self._pubsub_connections]
        for place in fresh:
            self._pubsub_connections[place] = PubSubConnection(
                place,
                self._client.connect,
                self._timeouts,
                sharded=self._client.sharded,
                on_messages=self._on_messages,
                on_resubscribed=self._on_connection_resubscribed,
                on_unsubscribed=self._on_unsubscribed,
                on_failure=self._client.mark_topology_stale,
            )
        return fresh

    def _migrate_channels(self) -> None:
        for name, (channel, ear) in list(self._channels.items()):
            there = self._pubsub_connections[
                self._client.server_of(channel_keys(channel).partition)
            ]
            if there is not ear:
                self._channels[name] = channel, there
                there.migrate_from(name, ear)

    def _on_messages(self, messages: Sequence[list[bytes]]) -> None:
        channels, events = self._channels, []
        for _, name, payload in messages:
            found = channels.get(name)
            if found is not None:
                events.append(parse_announcement(found[0], payload))
        self._on_events(events)

    def _on_connection_resubscribed(self) -> None:
        self._on_resubscribed()

    def _on_unsubscribed(self, name: bytes) -> None:
        self._channels.pop(name, None)
