"""The bell: hears the live events of every channel that this process needs.

One ear (redislink/ear.py) for each server; a channel is heard by the ear of its partition's server.

Rules:
1. `_channels` holds every channel that is wanted or lingers, by its pub/sub name.
2. When partitions move, their channels move to the new server's ear, which owes a relink: events
   may have been missed on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from hub.brokers.redis.log import parse_announcement
from hub.core.channel import Channel
from hub.core.event import Event
from hub.engine.supervise import Supervisor, SystemClock
from hub.redislink import RedisLink, channel_keys
from hub.redislink.ear import Ear, Patience
from hub.redislink.topology import Place


class RedisBus:
    """Subscriptions of one process."""

    def __init__(self, link: RedisLink, patience: Patience | None = None) -> None:
        self._link = link
        self._patience = patience or Patience(timeout=link.timeout_seconds)
        self._ears: dict[Place, Ear] = {}
        self._channels: dict[bytes, tuple[Channel, Ear]] = {}
        self._moved = asyncio.Event()
        self._heard: Callable[[Sequence[Event]], None] = lambda events: None
        self._relinked: Callable[[], None] = lambda: None
        link.on_change(self._moved.set)
        self._make_ears()

    @property
    def linked(self) -> bool:
        """Whether everything that is wanted is heard, as far as this process can tell."""
        return all(ear.linked for ear in self._ears.values())

    @property
    def breaks(self) -> int:
        """How often a link for events broke."""
        return sum(ear.breaks for ear in self._ears.values())

    def listen(
        self, heard: Callable[[Sequence[Event]], None], relinked: Callable[[], None]
    ) -> None:
        """See ports.Broker.listen."""
        self._heard, self._relinked = heard, relinked

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.subscribe."""
        waiting = []
        for channel in channels:
            keys = channel_keys(channel)
            name = keys.log.encode()
            ear = self._ears[self._link.place_of(keys.partition)]
            self._channels[name] = channel, ear
            waiter = ear.want(name)
            if waiter is not None:
                waiting.append(waiter)
        for waiter in waiting:
            await waiter

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """See ports.Broker.unsubscribe."""
        for channel in channels:
            name = channel_keys(channel).log.encode()
            if name in self._channels:
                self._channels[name][1].leave(name)

    async def run(self) -> None:
        """Hears until cancelled."""
        async with Supervisor(SystemClock()) as tasks:
            for place, ear in self._ears.items():
                tasks.start(f"ear at {place}", ear.run)
            while True:
                await self._moved.wait()
                self._moved.clear()
                before = self._ears.keys() - set(self._link.places())
                for place in self._make_ears():
                    tasks.start(f"ear at {place}", self._ears[place].run)
                self._rehome()
                for place in before:
                    del self._ears[place]
                    await tasks.end(f"ear at {place}")

    def _make_ears(self) -> list[Place]:
        """An ear at every server that has none. Returns where they are."""
        fresh = [place for place in self._link.places() if place not in self._ears]
        for place in fresh:
            self._ears[place] = Ear(
                place,
                self._link.connect,
                self._patience,
                sharded=self._link.sharded,
                heard=self._take,
                relinked=self._note_relinked,
                gave_up=self._gave_up,
                failed=self._link.note_stale,
            )
        return fresh

    def _rehome(self) -> None:
        for name, (channel, ear) in list(self._channels.items()):
            there = self._ears[self._link.place_of(channel_keys(channel).partition)]
            if there is not ear:
                self._channels[name] = channel, there
                there.take_over(name, ear)

    def _take(self, messages: Sequence[list[bytes]]) -> None:
        channels, events = self._channels, []
        for _, name, payload in messages:
            found = channels.get(name)
            if found is not None:
                events.append(parse_announcement(found[0], payload))
        self._heard(events)

    def _note_relinked(self) -> None:
        self._relinked()

    def _gave_up(self, name: bytes) -> None:
        self._channels.pop(name, None)
