"""The contract suites over the backend in memory, fakeredis, Valkey and Redis."""

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
    EventsContract,
    GenerationsContract,
    InputsContract,
    OpenBackend,
    QueueContract,
    SteeringContract,
    TicketsContract,
    TopicAnswersContract,
    TopicPresenceContract,
    UsageContract,
)
from tests.redis_backend import redis_backend

everywhere = pytest.mark.parametrize("kind", ["memory", "fakeredis", "valkey", "redis"])
without_fakeredis = pytest.mark.parametrize("kind", ["memory", "valkey", "redis"])


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
                            queue_limits=options.queue_limits,
                            lease_seconds=options.lease_seconds,
                        )
                    )
                return memory[0]
            if not redis:
                redis.append(await open_redis("restricted" if kind == "valkey" else kind))
            backend = redis_backend(
                redis[0].hub_client,
                log={"user": {"max_events": options.max_events}},
                queue_limits=options.queue_limits,
                lease_seconds=options.lease_seconds,
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
class TestInputs(InputsContract):
    """Every kind."""


@without_fakeredis
class TestQueue(QueueContract):
    """Every kind."""


@without_fakeredis
class TestCommands(CommandsContract):
    """Every kind that keeps times exactly."""


@without_fakeredis
class TestTickets(TicketsContract):
    """Every kind that keeps times exactly."""


@everywhere
class TestTopicAnswers(TopicAnswersContract):
    """Every kind."""


@without_fakeredis
class TestTopicPresence(TopicPresenceContract):
    """Every kind that keeps times exactly."""


@everywhere
class TestUsage(UsageContract):
    """Every kind."""
