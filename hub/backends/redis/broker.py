"""RedisBroker: the log and the bus, as ports.Broker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from hub.backends.redis.client import RedisClient
from hub.backends.redis.events import RedisEventLog, Retention
from hub.backends.redis.subscriptions import RedisSubscriptions
from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.errors import BrokerUnavailable
from hub.ports.events import Page, Publication, Published


class RedisBroker:
    """Implements ports.Broker. `run` keeps the bus up; a process that only publishes (a
    worker) does without it.
    """

    def __init__(self, client: RedisClient, retention: Retention) -> None:
        self._client = client
        self._log = RedisEventLog(client, retention)
        self._subscriptions = RedisSubscriptions(client)

    @property
    def disconnects(self) -> int:
        """How often a link for events broke."""
        return self._subscriptions.disconnects

    async def run(self) -> None:
        """Hears until cancelled."""
        await self._subscriptions.run()

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        return await self._log.publish(publications)

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        return await self._log.try_publish(publications)

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> Mapping[Channel, Page]:
        return await self._log.read(after, max_events=max_events, max_bytes=max_bytes)

    async def subscribe(self, channels: Collection[Channel]) -> None:
        await self._subscriptions.subscribe(channels)

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        self._subscriptions.unsubscribe(channels)

    def listen(
        self, heard: Callable[[Sequence[Event]], None], relinked: Callable[[], None]
    ) -> None:
        self._subscriptions.listen(heard, relinked)

    async def ping(self) -> None:
        await self._client.ping()
        if not self._subscriptions.is_synced:
            raise BrokerUnavailable("the broker answers, but its announcements are not heard yet")
