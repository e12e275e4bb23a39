"""What the queue and the small stores leave behind in Redis."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.backends.redis.client import open_client
from hub.backends.redis.keys import (
    DENYLIST,
    JOBS_COUNTS,
    JOBS_GROUP,
    JOBS_WAITING,
    generation_idempotency_key,
    jobs_stream,
    open_generations_key,
)
from hub.core.channel import partition_of, user_channel
from hub.core.fair_queue import Job
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    OnBusy,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.events import Publication
from hub.ports.queue import GenerationQueue, JobState, Lease
from hub.ports.tickets import Ticket
from hub.settings import Settings
from hub.testing.contracts.inputs import InputKit, request_of
from hub.testing.contracts.node import ALICE, Node
from tests.conftest import OpenedRedis, missing
from tests.redis_backend import redis_backend
from tests.topologies import TcpServer, fake_clock, free_ports, valkey_binary


@pytest.fixture(params=["valkey", "redis"])
async def real_redis(request: pytest.FixtureRequest, open_redis: Any) -> OpenedRedis:
    """Every kind of real server, empty."""
    opened: OpenedRedis = await open_redis(request.param)
    return opened


async def take(queue: GenerationQueue) -> Lease:
    """Reserve the next job."""
    async with asyncio.timeout(60):
        while (lease := await queue.reserve(1.0)) is None:
            pass
        return lease


async def test_consumer_group_is_created_again(real_redis: OpenedRedis) -> None:
    """A worker goes on when Redis has lost its data."""
    queue = redis_backend(real_redis.hub_client).queue
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("queue", queue.run)
        await queue.enqueue(Job("a", "alice", "open"))
        await take(queue)
        await real_redis.client.flushall()
        await queue.enqueue(Job("b", "alice", "open"))
        assert (await take(queue)).generation == "b"


async def test_completed_jobs_leave_nothing(real_redis: OpenedRedis) -> None:
    """No counter of a user or an upstream stays after the last job."""
    queue = redis_backend(real_redis.hub_client).queue
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("queue", queue.run)
        for n in range(5):
            await queue.enqueue(Job(f"a{n}", "alice", "open"))
        for _ in range(5):
            await queue.complete(await take(queue))
    assert set(await real_redis.client.hkeys(JOBS_COUNTS)) == {b"c", b"turn"}
    assert not await real_redis.client.exists(JOBS_WAITING)


async def test_several_queues(real_redis: OpenedRedis) -> None:
    """A worker of two queues takes from both, one job at a time, and from no other."""
    both = redis_backend(real_redis.hub_client, queues=("a", "b")).queue
    other = redis_backend(real_redis.hub_client, queues=("c",)).queue
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("both", both.run)
        tasks.start("other", other.run)
        for n in range(2):
            for queue in ("a", "b", "c"):
                await both.enqueue(Job(f"{queue}{n}", f"user{queue}{n}", "open", queue))
        taken = [(await take(both)).generation for _ in range(4)]
        assert sorted(taken) == ["a0", "a1", "b0", "b1"]
        assert await both.reserve(0.01) is None
        assert (await take(other)).generation == "c0"


async def test_denylist_expires(real_redis: OpenedRedis) -> None:
    """The key lives until its last entry expires, and expired entries are removed."""
    commands, client, now = (
        redis_backend(real_redis.hub_client).commands,
        real_redis.client,
        time.time(),
    )
    await commands.block("user a", 100)
    assert 90 < await client.ttl(DENYLIST) < 110
    await client.zadd(DENYLIST, {"user old": now - 1})
    await commands.block("user d", 5)
    assert "user old" not in await commands.blocked()


async def test_ticket_id_is_not_stored(real_redis: OpenedRedis) -> None:
    """The key has the hash of the ticket id; a used ticket expires with its token."""
    tickets = redis_backend(real_redis.hub_client).tickets
    ticket = Ticket(user="a", topics=(), expires_at=time.time() + 60, token_id=None)
    await tickets.put("x", ticket, 10, 60)
    await tickets.consume("x")
    (name,) = await real_redis.client.keys("*:ticket:*")
    assert b":x" not in name
    assert 50_000 < await real_redis.client.pttl(name) <= 60_000


async def test_open_record_outlives_a_clock_that_is_ahead(real_redis: OpenedRedis) -> None:
    """Until its end a record lives for days, so that no jump of the clock removes it."""
    backend, client = redis_backend(real_redis.hub_client), real_redis.client
    generation = new_generation_id(partition_of(user_channel("alice")))
    request = GenerationRequest([Message("user", "hi")], upstream="u", model="m")
    await backend.generations.create(Generation(generation, "alice", request), None)
    (record,) = await client.keys(f"*:generation:{generation}")
    names = (record, record + b":parts")

    async def publish(kind: UpdateKind, **more: Any) -> list[int]:
        update = GenerationUpdate(generation, 1, kind, **more)
        await backend.events.publish(
            [Publication(channel=user_channel("alice"), name="n", data=b"{}", update=update)]
        )
        return [await client.ttl(name) for name in names]

    assert min([await client.ttl(name) for name in names]) > 86_400
    assert min(await publish(UpdateKind.BEGIN)) > 86_400
    assert min(await publish(UpdateKind.DELTA, entries=b"a")) > 86_400
    assert max(await publish(UpdateKind.END, index=1, status=Status.DONE)) <= 3600
    assert not await client.exists(open_generations_key(partition_of(user_channel("alice"))))


async def test_idempotency_key_lives_as_long_as_the_record(real_redis: OpenedRedis) -> None:
    """While the answer runs, however long that takes, and `ttl_seconds` after its end."""
    backend = redis_backend(real_redis.hub_client)
    request = GenerationRequest([Message("user", "hi")], upstream="u", model="m", chat="c")
    partition = partition_of(user_channel("alice"))
    record = Generation(new_generation_id(partition), "alice", request, steerable=True)
    await backend.generations.create(record, "first")
    again = msgspec.structs.replace(record, id=new_generation_id(partition))
    await backend.generations.create(again, "second", OnBusy.STEER)
    names = [
        generation_idempotency_key(record.channel, "alice", key) for key in ("first", "second")
    ]
    open_ms = Settings().log.position_ttl_seconds * 1000
    for name in names:
        assert await real_redis.client.pttl(name) > open_ms - 60_000
        await real_redis.client.pexpire(name, 1000)
    await backend.generations.take_open(1e-9)
    for name in names:
        assert await real_redis.client.pttl(name) > open_ms - 60_000
    await real_redis.client.pexpire(names[1], 1000)
    update = GenerationUpdate(record.id, 0, UpdateKind.END, Status.STOPPED)
    end = Publication(channel=record.channel, name="n", data=b"{}", update=update)
    await backend.events.publish([end])
    ended_ms = Settings().generations.ttl_seconds * 1000
    assert ended_ms - 60_000 < await real_redis.client.pttl(names[1]) <= ended_ms


async def test_waiting_record_lives_until_its_deadline(real_redis: OpenedRedis) -> None:
    """So does everything that belongs to it, whatever is written meanwhile; not after the end."""
    backend, client = redis_backend(real_redis.hub_client), real_redis.client
    kit = InputKit(Node(backend))
    request = GenerationRequest([Message("user", "hi")], upstream="u", model="m", chat="c")
    await backend.generations.create(Generation(kit.id, "alice", request), "key")
    await kit.begin()
    days = 30 * 86_400
    await kit.ask(request_of(seconds=days), suspends=True)
    records = [f"*:generation:{kit.id}", f"*:generation:{kit.id}:parts"]
    others = ["*:open", "*:chat:*", "*:chat_open:*", "*:generation_key:*", "*:suspended:*"]
    others.append("*:generations:*")

    async def lives() -> list[int]:
        names = [name for each in (*records, *others) for name in await client.keys(each)]
        assert len(names) == len(records) + len(others)
        return [await client.ttl(name) for name in names]

    assert min(await lives()) > days
    other = Generation(new_generation_id(partition_of(ALICE)), "alice", request)
    await backend.generations.create(other, None, OnBusy.ENQUEUE)
    await backend.generations.take_open(1e-9)
    await kit.answer()
    await kit.begin(2)
    await kit.update(UpdateKind.DELTA, 2, index=0, entries=b"a")
    for each in records:
        (name,) = await client.keys(each)
        assert await client.ttl(name) > days
    await kit.update(UpdateKind.END, 2, index=1, status=Status.DONE)
    for each in records:
        (name,) = await client.keys(each)
        assert await client.ttl(name) <= Settings().generations.ttl_seconds


async def test_lease_that_was_renewed_in_the_future(short_path: Path) -> None:
    """The job of a dead worker is free in time, also when its lease comes from a clock ahead."""
    environment = fake_clock(3600)
    if not environment:
        missing("libfaketime")
    (port,) = free_ports(1)
    server = TcpServer(valkey_binary(), short_path, port)
    try:
        server.kill()
        server.prefix = ["env", *(f"{name}={value}" for name, value in environment.items())]
        server.start()
        async with open_client(f"redis://127.0.0.1:{server.port}", timeout_seconds=5.0) as client:
            await redis_backend(client).queue.enqueue(Job("g", "alice", "u"))
            server.ask("XGROUP", "CREATE", jobs_stream("default"), JOBS_GROUP, "0")
            read = ("XREADGROUP", "GROUP", JOBS_GROUP, "dead", "STREAMS", jobs_stream("default"))
            assert server.ask(*read, ">")
            server.ask("SAVE")
        server.kill()
        server.prefix = ()
        server.start()
        async with (
            open_client(f"redis://127.0.0.1:{server.port}", timeout_seconds=5.0) as client,
            Supervisor(SystemClock()) as tasks,
        ):
            queue = redis_backend(client, lease_seconds=0.2).queue
            tasks.start("queue", queue.run)
            assert await queue.reserve(0.3) is None
            assert await queue.job_states(["g"]) == [JobState(is_attended=True)]
            assert (await take(queue)).generation == "g"
    finally:
        server.kill()


async def test_nothing_is_claimed_after_a_stall_of_the_server(tmp_path: Path) -> None:
    """While a server is stopped no lease can be renewed: the workers that hold them do it first."""
    (port,) = free_ports(1)
    server = TcpServer(valkey_binary(), tmp_path, port)
    try:
        async with (
            open_client(f"redis://127.0.0.1:{port}", timeout_seconds=30) as client,
            Supervisor(SystemClock()) as tasks,
        ):
            holder, other = [redis_backend(client, lease_seconds=2).queue for _ in range(2)]
            for queue in (holder, other):
                tasks.start(f"queue {id(queue)}", queue.run)
            await holder.enqueue(Job(new_generation_id(0), "alice", "main"))
            lease = await take(holder)
            server.process.send_signal(signal.SIGSTOP)
            late = asyncio.create_task(other.reserve(0.001))
            await asyncio.sleep(2.5)  # longer than the lease
            server.process.send_signal(signal.SIGCONT)
            assert await late is None
            assert not await holder.renew([lease])
            assert (await take(other)).generation == lease.generation  # it was not renewed again
    finally:
        server.kill()
