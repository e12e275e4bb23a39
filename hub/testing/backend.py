"""MemoryBackend: the whole backend in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, DeliveryLimits
from hub.core.fair_queue import QueueLimits
from hub.errors import BrokerUnavailable
from hub.ports.backend import BrokerMemory
from hub.ports.events import Publication
from hub.testing.claims import MemoryJobClaims
from hub.testing.deliveries import MemoryDeliveryStore
from hub.testing.events import MemoryEventLog, MemorySubscriptions
from hub.testing.generations import MemoryGenerationStore
from hub.testing.inboxes import MemoryInboxStore
from hub.testing.push import MemoryPushSubscriptionStore
from hub.testing.queue import MemoryGenerationQueue
from hub.testing.stores import (
    MemoryBudgetStore,
    MemoryCommandBus,
    MemoryPresenceStore,
    MemoryTicketStore,
    MemoryUsageStore,
)
from hub.testing.user_presence import MemoryUserPresenceStore
from hub.testing.webhooks import MemoryWebhookStore


class MemoryBackend:
    """Implements ports.backend.Backend; passes the same contract suites as RedisBackend.

    max_events: how many events each channel keeps.
    queue_limits: None means so many jobs that no test reaches the limit.
    delivery_limits: None means so much room that no test reaches a limit.
    inbox_max_items: how many items each inbox keeps.
    lease_seconds: how long a reserved job belongs to its worker without a renewal.
    max_push_subscriptions, push_ttl_seconds: as for RedisBackend.
    now: Unix time in seconds, against which events and tickets expire and requests age.

    While `is_unavailable` is true, events, subscriptions, generations and health raise
    BrokerUnavailable, like a backend that does not answer.
    """

    def __init__(
        self,
        *,
        max_events: int = 1000,
        queue_limits: QueueLimits | None = None,
        delivery_limits: DeliveryLimits | None = None,
        lease_seconds: float = 60.0,
        inbox_max_items: int = 200,
        now: Callable[[], float] = time.time,
        max_push_subscriptions: int = 20,
        push_ttl_seconds: float = 180 * 86400.0,
    ) -> None:
        self.is_unavailable = False
        self.subscriptions = MemorySubscriptions(self.check_available)
        self.generations = MemoryGenerationStore(
            self._head_of, self._append, self.check_available, now
        )
        self.deliveries = MemoryDeliveryStore(
            delivery_limits, check_available=self.check_available, now=now
        )
        self.inboxes = MemoryInboxStore(
            self._append,
            self._head_of,
            self.check_available,
            now,
            cancel_push=partial(self.deliveries.cancel, PUSH_QUEUE),
            add_deliveries=self.deliveries.add,
            max_items=inbox_max_items,
        )
        self.webhooks = MemoryWebhookStore(check_available=self.check_available, now=now)
        self.events = MemoryEventLog(
            self.subscriptions,
            self.generations.apply,
            self.check_available,
            max_events=max_events,
            count_received=self.generations.count_received,
            add_delivery=self.deliveries.append,
            add_item=self.inboxes.add,
            now=now,
        )
        self.queue = MemoryGenerationQueue(queue_limits, lease_seconds=lease_seconds)
        self.claims = MemoryJobClaims(self.queue)
        self.commands = MemoryCommandBus(now)
        self.tickets = MemoryTicketStore(now)
        self.push_subscriptions = MemoryPushSubscriptionStore(
            now, max_per_user=max_push_subscriptions, ttl_seconds=push_ttl_seconds
        )
        self.topic_presence = MemoryPresenceStore(now)
        self.user_presence = MemoryUserPresenceStore(now, self.deliveries.append)
        self.budgets = MemoryBudgetStore(now)
        self.usage = MemoryUsageStore()
        self.health = MemoryHealth(self.check_available)
        self.statistics = MemoryStatistics()

    def _head_of(self, channel: Channel) -> Position:
        return self.events.head_of(channel)

    def _append(self, channel: Channel, name: str, data: bytes) -> None:
        self.events.append(Publication(channel=channel, name=name, data=data))

    def check_available(self) -> None:
        """Raise BrokerUnavailable while `is_unavailable` is true."""
        if self.is_unavailable:
            raise BrokerUnavailable("the broker does not answer: the test made it unavailable")


class MemoryHealth:
    """Implements ports.backend.BackendHealth."""

    def __init__(self, check_available: Callable[[], None]) -> None:
        self._check_available = check_available

    async def check_writable(self) -> None:
        self._check_available()

    async def check_ready(self) -> None:
        self._check_available()

    async def memory(self) -> BrokerMemory | None:
        self._check_available()
        return BrokerMemory(used_bytes=0, max_bytes=0)


class MemoryStatistics:
    """Implements ports.backend.BackendStatistics; nothing is counted."""

    calls = 0
    refusals: Mapping[str, int] = {}
    disconnects: Mapping[str, int] = {}
