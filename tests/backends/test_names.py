"""User ids, topics and keys of clients of every kind, through every part of the Redis backend."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.backends.redis.keys import (
    chat_key,
    chat_open_key,
    generation_idempotency_key,
    publish_idempotency_key,
)
from hub.core.channel import Channel, partition_of, topic_channel, user_channel
from hub.core.denylist import USER
from hub.core.event import Event
from hub.core.fair_queue import Job
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.events import FROM_START, Publication
from hub.ports.tickets import Ticket
from hub.ports.usage import UsageTotals
from tests.conftest import OpenedRedis
from tests.http.test_names import names, topic_names
from tests.redis_backend import redis_backend

ROOM = topic_channel("room")
_PARTS = st.text(alphabet="ab/%25F:{}", min_size=1, max_size=5)


@given(_PARTS, _PARTS, _PARTS, _PARTS)
def test_keys_of_different_users_differ(user: str, key: str, other: str, other_key: str) -> None:
    """Slashes and percent signs in a user id and in a key do not run into each other."""
    same = (user, key) == (other, other_key)
    channel, other_channel = user_channel(user), user_channel(other)
    for name in (publish_idempotency_key, chat_key, chat_open_key):
        assert (name(channel, key) == name(other_channel, other_key)) is same
    for room, other_room in ((channel, other_channel), (ROOM, ROOM)):
        first = generation_idempotency_key(room, user, key)
        assert (first == generation_idempotency_key(other_room, other, other_key)) is same


@pytest.fixture
async def opened(open_redis: Any) -> OpenedRedis:
    redis: OpenedRedis = await open_redis("valkey")
    return redis


async def test_every_name_in_every_store(opened: OpenedRedis) -> None:
    """What is stored for a name is found by exactly this name."""
    backend = redis_backend(opened.hub_client)
    received: asyncio.Queue[Event] = asyncio.Queue()

    def on_events(events: Any) -> None:
        for event in events:
            received.put_nowait(event)

    backend.subscriptions.listen(on_events, lambda: None)
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("subscriptions", backend.subscriptions.run)
        tasks.start("queue", backend.queue.run)
        for user in names(30):
            await check_events(backend, user_channel(user), received)
            await check_generations(backend, user)
            await check_small_stores(backend, user)
        for topic in topic_names(30):
            await check_events(backend, topic_channel(topic), received)


async def check_events(backend: Any, channel: Channel, received: asyncio.Queue[Event]) -> None:
    await backend.subscriptions.subscribe([channel])
    await backend.events.publish(
        [Publication(channel=channel, name="n", data=b"1", idempotency_key="k/1")]
    )
    async with asyncio.timeout(60):
        event = await received.get()
    assert (event.channel, event.data) == (channel, b"1")
    page = (await backend.events.read({channel: FROM_START}, max_events=9, max_bytes=99))[channel]
    assert [each.channel for each in page.events] == [channel]


async def check_generations(backend: Any, user: str) -> None:
    generation = new_generation_id(partition_of(user_channel(user)))
    request = GenerationRequest(
        messages=[Message(role="user", content=user)], upstream="u", model="m", chat=user
    )
    record = Generation(id=generation, user=user, request=request, requested_at=time.time())
    await backend.generations.create(record, user[:200])
    record = await backend.generations.find(generation)
    assert (record.user, record.request.chat) == (user, user)
    assert await backend.generations.newest_of_chat(user, user) == generation
    await backend.queue.enqueue(Job(generation, user, "u", "default"))
    lease = await backend.queue.reserve(5.0)
    assert lease.generation == generation
    await backend.queue.complete(lease)


async def check_small_stores(backend: Any, user: str) -> None:
    usage = UsageTotals(
        day="2026-01-01", user=user, model="m x", answers=1, answers_without_usage=0,
        prompt_tokens=1, completion_tokens=1,
    )  # fmt: skip
    await backend.usage.add(usage)
    assert await backend.usage.read("2026-01-01", user) == [usage]
    await backend.commands.block(USER + user, time.time() + 60)
    assert USER + user in await backend.commands.blocked()
    ticket = Ticket(user=user, topics=(user,), expires_at=time.time() + 60, token_id=None)
    await backend.tickets.put(f"t{user}", ticket, 30.0, 60.0)
    assert (await backend.tickets.consume(f"t{user}")).ticket == ticket
    joined = await backend.topic_presence.update(
        topic_channel("t"), "node 1", present=[user], absent=[], seconds=30.0
    )
    assert list(joined.joined) == [user]
    left = await backend.topic_presence.update(
        topic_channel("t"), "node 1", present=[], absent=[user], seconds=30.0
    )
    assert list(left.left) == [user]
