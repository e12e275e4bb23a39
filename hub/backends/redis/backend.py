"""RedisBackend: every port of the backend over one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hub.backends.redis.budgets import RedisBudgetStore
from hub.backends.redis.claims import RedisJobClaims
from hub.backends.redis.client import RedisClient
from hub.backends.redis.commands import RedisCommandBus
from hub.backends.redis.deliveries import RedisDeliveryStore
from hub.backends.redis.events import RedisEventLog, ReplicaWait, Retention
from hub.backends.redis.generations import RedisGenerationStore
from hub.backends.redis.inboxes import RedisInboxStore
from hub.backends.redis.push_subscriptions import RedisPushSubscriptionStore
from hub.backends.redis.queue import RedisGenerationQueue
from hub.backends.redis.subscriptions import RedisSubscriptions
from hub.backends.redis.tickets import RedisTicketStore
from hub.backends.redis.topic_presence import RedisPresenceStore
from hub.backends.redis.usage import RedisUsageStore
from hub.backends.redis.user_presence import RedisUserPresenceStore
from hub.backends.redis.webhooks import RedisWebhookStore
from hub.core.deliveries import DeliveryLimits
from hub.core.fair_queue import QueueLimits
from hub.errors import BrokerUnavailable
from hub.ports.backend import BrokerMemory


class RedisBackend:
    """Implements ports.backend.Backend.

    queues: the job queues that this process reserves from and lists.
    lease_seconds: how long a reserved job belongs to its worker without a renewal.
    delivery_limits: how much of each queue of deliveries is stored.
    usage_seconds: how long the usage totals of a day are kept.
    replica_wait: how durable publications wait for replicas; None means that they do not.
    max_push_subscriptions: how many push subscriptions a user has. push_ttl_seconds: how long one
        is kept.
    """

    def __init__(
        self,
        client: RedisClient,
        retention: Retention,
        queue_limits: QueueLimits,
        *,
        lease_seconds: float,
        queues: Sequence[str],
        delivery_limits: DeliveryLimits,
        usage_seconds: float,
        replica_wait: ReplicaWait | None = None,
        max_push_subscriptions: int = 20,
        push_ttl_seconds: float = 180 * 86400.0,
    ) -> None:
        self.events = RedisEventLog(
            client, retention, replica_wait, delivery_limits=delivery_limits
        )
        self.subscriptions = RedisSubscriptions(client)
        self.generations = RedisGenerationStore(client, retention)
        self.queue = RedisGenerationQueue(
            client, queue_limits, lease_seconds=lease_seconds, queues=queues
        )
        self.claims = RedisJobClaims(client, lease_seconds=lease_seconds)
        self.commands = RedisCommandBus(client)
        self.deliveries = RedisDeliveryStore(client, delivery_limits)
        self.webhooks = RedisWebhookStore(client)
        self.tickets = RedisTicketStore(client)
        self.push_subscriptions = RedisPushSubscriptionStore(
            client, max_per_user=max_push_subscriptions, ttl_seconds=push_ttl_seconds
        )
        self.topic_presence = RedisPresenceStore(client)
        self.user_presence = RedisUserPresenceStore(client, delivery_limits)
        self.budgets = RedisBudgetStore(client, seconds=retention.generation_ttl_seconds)
        self.usage = RedisUsageStore(client, ttl_seconds=usage_seconds)
        self.inboxes = RedisInboxStore(client, retention, delivery_limits)
        self.health = RedisHealth(client, self.subscriptions)
        clients = [client] if replica_wait is None else [client, replica_wait.client]
        self.statistics = RedisStatistics(clients, self.subscriptions)


class RedisHealth:
    """Implements ports.backend.BackendHealth."""

    def __init__(self, client: RedisClient, subscriptions: RedisSubscriptions) -> None:
        self._client = client
        self._subscriptions = subscriptions

    async def check_writable(self) -> None:
        await self._client.check_writable()

    async def memory(self) -> BrokerMemory | None:
        infos = await self._client.call_each("INFO", "memory")
        memories = [_parse_memory(each) for each in infos if each is not None]
        return max(memories, key=_fill_level, default=None)

    async def check_ready(self) -> None:
        await self._client.check_writable()
        if not self._subscriptions.is_synced:
            raise BrokerUnavailable(
                "the broker answers, but the subscriptions are not acknowledged yet"
            )


class RedisStatistics:
    """Implements ports.backend.BackendStatistics. The numbers of all clients are added."""

    def __init__(self, clients: Sequence[RedisClient], subscriptions: RedisSubscriptions) -> None:
        self._clients = clients
        self._subscriptions = subscriptions

    @property
    def calls(self) -> int:
        return sum(client.calls for client in self._clients)

    @property
    def refusals(self) -> Mapping[str, int]:
        return sum((client.refusals for client in self._clients), Counter())

    @property
    def disconnects(self) -> Mapping[str, int]:
        return {
            "commands": sum(client.disconnects for client in self._clients),
            "events": self._subscriptions.disconnects,
        }


def _parse_memory(info: bytes) -> BrokerMemory:
    """Return the memory of a server from the section `memory` of INFO."""
    lines = (line.partition(":") for line in info.decode().split("\r\n"))
    fields = {name: value for name, _, value in lines}
    return BrokerMemory(int(fields.get("used_memory", 0)), int(fields.get("maxmemory", 0)))


def _fill_level(memory: BrokerMemory) -> float:
    """Return which share of its limit a server uses; those without a limit are the emptiest."""
    return memory.used_bytes / (memory.max_bytes or 2**63)
