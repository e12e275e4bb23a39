"""What an erasure leaves behind in Redis, and what the documentation says about every key."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of
from hub.core.deliveries import DELIVERY_QUEUES, Dead
from hub.core.denylist import USER
from hub.core.fair_queue import Job
from hub.core.generation import Generation, OnBusy, new_generation_id
from hub.core.inbox import InboxOptions
from hub.engine.tasks import Supervisor, SystemClock
from hub.engine.user_data import UserDataRegistry
from hub.ports.generations import MAX_LISTED_PER_USER, GenerationFilter
from hub.ports.tickets import Ticket
from hub.ports.usage import UsageTotals
from hub.settings import Settings
from hub.testing.contracts.deliveries import delivery
from hub.testing.contracts.generations import REQUEST
from hub.testing.contracts.inputs import InputKit, request_of
from hub.testing.contracts.node import ALICE, Node
from hub.testing.contracts.push import PHONE
from hub.testing.contracts.topics import CHAT, ROOM
from hub.wiring.node_parts import build_node_parts
from hub.wiring.tracing import NoTracing
from tests.conftest import OpenedRedis
from tests.redis_backend import redis_backend

PAGE = Path("docs/contributing/redis.md")
KEPT = ("denylist",)  # kinds that name the user after an erasure
NAMELESS = ("open",)  # kinds from which something is removed that names nobody


def documented_keys() -> tuple[list[str], dict[str, str]]:
    """Return the names of the table of all keys, and by name what an erasure does with it."""
    keys, erasure = PAGE.read_text().split("\n## Erasure\n")
    names = re.findall(r"^\| (`\{hub:p\S+`(?:, too)?) \|", keys, re.MULTILINE)
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| (.*) \|$", erasure, re.MULTILINE)
    actions: dict[str, str] = {}
    for cell, action, reason in rows:
        if not cell.startswith("`{hub:p"):
            continue
        for name in re.findall(r"`[^`]+`(?:, too)?", cell):
            assert name not in actions, f"{name} has two rows"
            actions[name] = action
        assert not action.startswith("keeps") or len(reason) > 10, f"{cell} needs a reason"
    return names, actions


def kind_of(key: str) -> str:
    """Return the kind of a key or of a documented name."""
    match = re.search(r"\}:(jobs:\w+|\w+)", key)
    assert match is not None, key
    return match[1]


def test_every_key_has_a_row() -> None:
    """A new kind of key must say what an erasure does with it."""
    names, actions = documented_keys()
    assert len(names) >= 30
    assert sorted(names) == sorted(actions)
    for action in actions.values():
        assert re.match(r"(erases|removes|keeps|stores nothing)", action), action


@pytest.fixture(params=["valkey", "redis"])
async def opened(request: pytest.FixtureRequest, open_redis: Any) -> OpenedRedis:
    """Every kind of real server, empty."""
    redis: OpenedRedis = await open_redis(request.param)
    return redis


@pytest.fixture
async def backend(opened: OpenedRedis) -> AsyncIterator[Any]:
    """A backend whose tasks run."""
    backend = redis_backend(opened.hub_client)
    async with Supervisor(SystemClock()) as tasks:
        for name in ("subscriptions", "queue"):
            tasks.start(name, getattr(backend, name).run)
        yield backend


def registry_of(backend: Any) -> UserDataRegistry:
    return build_node_parts(Settings(), backend, SystemClock(), NoTracing()).user_data


async def kinds_that_name(client: Any, text: bytes) -> set[str]:
    """Return the kinds of all keys that have a text in their names or values, but the logs of
    topics: these are kept.
    """
    kinds = set()
    for key in await client.keys("*"):
        if b":log:topic:" in key:
            continue
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"stream": client.xrange,
        }
        value = await read[await client.type(key)](key)
        if text in key or text in repr(value).encode():
            kinds.add(kind_of(key.decode()))
    return kinds


async def start(backend: Any, request: Any, key: str | None = None) -> str:
    channel = ALICE if request.topic is None else ROOM
    record = Generation(new_generation_id(partition_of(channel)), "alice", request)
    created = await backend.generations.create(record, key, OnBusy.ALLOW)
    generation: str = created.generation
    return generation


async def test_nothing_that_names_the_user_is_left(opened: OpenedRedis, backend: Any) -> None:
    """Of every kind of key that an erasure erases, there is one before it and none after it."""
    node = Node(backend, listens=False)
    await node.publish('"for alice"', idempotency_key="alice 1")
    await node.publish('"alice"', inbox=InboxOptions(key="alice 1"))
    await backend.inboxes.subscribe("alice", ["room:1"])
    kit = InputKit(node)
    await kit.start()
    await kit.ask(request_of("refund", approvers=["alice"]), suspends=True)
    for request in (CHAT, msgspec.structs.replace(REQUEST, chat="alice's")):
        for key in ("k1", "k2", "k3"):
            generation = await start(backend, request, key)
            job = Job(generation, "alice", request.upstream, topic=request.topic)
            await backend.queue.enqueue(job)
    await backend.queue.enqueue(Job(new_generation_id(0), "bob", "u", "default"))
    today = time.strftime("%Y-%m-%d", time.gmtime())
    await backend.usage.add(UsageTotals(day=today, user="alice", model="m", answers=1))
    await backend.commands.block(f"{USER}alice", 60.0)
    ticket = Ticket(user="alice", topics=(), expires_at=1.0, token_id=None)
    await backend.tickets.put("t", ticket, 30.0, 60.0)
    await backend.budgets.charge("alice", 10, 1000)
    await backend.push_subscriptions.put("alice", PHONE)
    for queue in DELIVERY_QUEUES:
        sent = [delivery(name, queue=queue, body=b'"alice"') for name in ("dead", "waiting")]
        await backend.deliveries.add(sent)
        (taken,) = await backend.deliveries.take(queue, 1, lease_seconds=60.0)
        await backend.deliveries.complete(taken, Dead("no"))
    _, actions = documented_keys()
    erased = {kind_of(name) for name, action in actions.items() if action[:2] in ("er", "re")}
    assert await kinds_that_name(opened.client, b"alice") == {*erased, *KEPT} - {*NAMELESS}
    parts = [part async for part in registry_of(backend).export("alice")]
    exported = msgspec.json.decode(b"".join(parts))["deliveries"]
    assert [(each["queue"], each["state"], each["body"]) for each in exported] == [
        (queue, state, "alice") for queue in DELIVERY_QUEUES for state in ("waiting", "dead")
    ]
    await registry_of(backend).erase("alice")
    assert await kinds_that_name(opened.client, b"alice") == set(KEPT)
    assert await backend.generations.take_open(0.0) == []
    assert (await backend.queue.list_jobs(9)).total == 1


async def test_older_answers_than_those_of_lists(opened: OpenedRedis, backend: Any) -> None:
    """Those that lists no longer look at are erased too; expired ones leave the set."""
    store = backend.generations
    ids = [await start(backend, CHAT if n % 50 == 0 else REQUEST) for n in range(30)]
    names = [new_generation_id(partition_of(ALICE)) for _ in range(MAX_LISTED_PER_USER)]
    (key,) = await opened.client.keys("*:generations:user:alice")
    await opened.client.zadd(key, dict.fromkeys(names, 4e12))  # newer ones
    listed = await store.list_of_user("alice", GenerationFilter(limit=9))
    assert listed == []
    await opened.client.zadd(key, dict.fromkeys(names, 1))  # older ones, which have no records
    late = [await start(backend, REQUEST) for _ in range(10)]
    assert await opened.client.zcard(key) <= MAX_LISTED_PER_USER
    assert {*ids, *late} <= {*await store.list_kept("alice")}
    await opened.client.zadd(key, dict.fromkeys(names, 4e12))
    await store.erase("alice")
    assert [each for each in (*ids, *late) if await store.find(each)] == []
    assert await kinds_that_name(opened.client, b"alice") == set()
