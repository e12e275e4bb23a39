"""The contract suites over the backend in memory, Valkey and Redis, and one over fakeredis.

They run on uvloop. The suites that subscribe or wait run on the loop of asyncio as well, with one
of the servers: what a server answers does not depend on the loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.backend import Backend
from hub.testing.backend import MemoryBackend
from hub.testing.contracts import (
    BackendOptions,
    ChatsContract,
    CommandsContract,
    DeliveriesContract,
    EventsContract,
    GenerationsContract,
    InboxesContract,
    InputsContract,
    OpenBackend,
    PushSubscriptionsContract,
    QueueContract,
    SteeringContract,
    TicketsContract,
    TopicAnswersContract,
    TopicPresenceContract,
    UsageContract,
    UserDataContract,
    UserPresenceContract,
    WebhooksContract,
)
from tests.redis_backend import redis_backend

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])
everywhere = pytest.mark.parametrize("kind", ["memory", "valkey", "redis"])
on_asyncio = pytest.mark.asyncio(loop_factories=["asyncio"])
on_fakeredis = pytest.mark.parametrize("kind", ["fakeredis"])
on_valkey = pytest.mark.parametrize("kind", ["valkey"])


@pytest.fixture
async def open_backend(kind: str, open_redis: Any) -> AsyncIterator[OpenBackend]:
    """Opens backends on one store of the kind. The login to Valkey has only the permissions that
    the documentation lists, and no INFO.
    """
    memory: list[MemoryBackend] = []
    redis: list[Any] = []
    async with Supervisor(SystemClock()) as tasks:

        async def open_one(options: BackendOptions) -> Backend:
            if kind == "memory":
                if not memory:
                    memory.append(
                        MemoryBackend(
                            max_events=options.max_events,
                            inbox_max_items=options.inbox_max_items,
                            queue_limits=options.queue_limits,
                            delivery_limits=options.delivery_limits,
                            lease_seconds=options.lease_seconds,
                            max_push_subscriptions=options.max_push_subscriptions,
                            push_ttl_seconds=options.push_ttl_seconds,
                        )
                    )
                return memory[0]
            if not redis:
                redis.append(await open_redis("restricted" if kind == "valkey" else kind))
            backend = redis_backend(
                redis[0].hub_client,
                log={"user": {"max_events": options.max_events}},
                inbox={"max_items": options.inbox_max_items},
                queue_limits=options.queue_limits,
                delivery_limits=options.delivery_limits,
                lease_seconds=options.lease_seconds,
                max_push_subscriptions=options.max_push_subscriptions,
                push_ttl_seconds=options.push_ttl_seconds,
            )
            for name in ("subscriptions", "commands", "queue"):
                tasks.start(f"{name} {id(backend)}", getattr(backend, name).run)
            return backend

        yield open_one


@everywhere
class TestEvents(EventsContract):
    """Every kind."""


@everywhere
class TestSteering(SteeringContract):
    """Every kind."""


@everywhere
class TestChats(ChatsContract):
    """Every kind."""


@everywhere
class TestGenerations(GenerationsContract):
    """Every kind."""


@everywhere
class TestInboxes(InboxesContract):
    """Every kind."""


@everywhere
class TestInputs(InputsContract):
    """Every kind."""


@everywhere
class TestQueue(QueueContract):
    """Every kind."""


@everywhere
class TestCommands(CommandsContract):
    """Every kind."""


@everywhere
class TestTickets(TicketsContract):
    """Every kind."""


@everywhere
class TestTopicAnswers(TopicAnswersContract):
    """Every kind."""


@everywhere
class TestTopicPresence(TopicPresenceContract):
    """Every kind."""


@everywhere
class TestUsage(UsageContract):
    """Every kind."""


@everywhere
class TestWebhooks(WebhooksContract):
    """Every kind."""


@everywhere
class TestDeliveries(DeliveriesContract):
    """Every kind."""


@everywhere
class TestUserPresence(UserPresenceContract):
    """Every kind."""


@everywhere
class TestUserData(UserDataContract):
    """Every kind."""


@on_fakeredis
class TestEventsOnFakeredis(EventsContract):
    """fakeredis, for whoever has no server at hand."""


@on_asyncio
@on_valkey
class TestEventsOnAsyncio(EventsContract):
    """The loop of asyncio."""


@on_asyncio
@on_valkey
class TestQueueOnAsyncio(QueueContract):
    """The loop of asyncio."""


@on_asyncio
@on_valkey
class TestCommandsOnAsyncio(CommandsContract):
    """The loop of asyncio."""


@everywhere
class TestPushSubscriptions(PushSubscriptionsContract):
    """Every kind."""
