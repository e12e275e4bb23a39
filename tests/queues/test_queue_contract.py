"""What every queue must do: one suite over memory, fakeredis, Valkey and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from hub.engine.supervise import Supervisor, SystemClock
from hub.ports import GenerationQueue, Lease
from hub.queues.memory import MemoryGenerationQueue
from hub.queues.redis import RedisGenerationQueue

LEASE_SECONDS = 0.3


class Kit:
    """Two workers' ends of one queue."""

    def __init__(self, first: GenerationQueue, second: GenerationQueue, server: Any = None) -> None:
        self.first = first
        self.second = second
        self.server = server

    async def run_out(self, queue: GenerationQueue) -> Lease:
        """The lease that ran out, taken by this end: time does it, or the double is told."""
        if isinstance(queue, MemoryGenerationQueue):
            queue.abandon()
        return await self.take(queue)

    async def take(self, queue: GenerationQueue) -> Lease:
        """The next job; fakeredis does not block, so it is asked again."""
        async with asyncio.timeout(5):
            while (lease := await queue.take(0.02)) is None:
                await asyncio.sleep(0)
            return lease


@pytest.fixture(params=["memory", "fakeredis", "valkey", "redis"])
async def kit(request: pytest.FixtureRequest, open_redis: Any) -> AsyncIterator[Kit]:
    """The queue in memory, or RedisGenerationQueue over each server."""
    if request.param == "memory":
        memory = MemoryGenerationQueue()
        yield Kit(memory, memory)
        return
    server = await open_redis(request.param)
    queues = [RedisGenerationQueue(server.link, lease_seconds=LEASE_SECONDS) for _ in range(2)]
    async with Supervisor(SystemClock()) as tasks:
        for n, queue in enumerate(queues):
            tasks.start(f"queue {n}", queue.run)
        yield Kit(queues[0], queues[1], server.client)


# What has no meaning for a queue without a clock and a server of its own.
on_servers = pytest.mark.parametrize("kit", ["fakeredis", "valkey", "redis"], indirect=True)


async def test_jobs_come_in_order(kit: Kit) -> None:
    """First come, first served, each to one worker."""
    for name in ("a", "b", "c"):
        await kit.first.put(name)
    queues = (kit.first, kit.second, kit.first)
    assert [(await kit.take(queue)).generation for queue in queues] == ["a", "b", "c"]


async def test_nothing_to_take(kit: Kit) -> None:
    """None, when nothing came in time."""
    assert await kit.first.take(0.01) is None


async def test_job_that_comes_while_waiting(kit: Kit) -> None:
    """A worker that waits gets it."""
    waiting = asyncio.create_task(kit.take(kit.first))
    await asyncio.sleep(0)
    await kit.second.put("a")
    assert (await waiting).generation == "a"


async def test_abandoned_job_is_anothers(kit: Kit) -> None:
    """When the lease has run out, another worker gets the job."""
    await kit.first.put("a")
    await kit.take(kit.first)
    assert (await kit.run_out(kit.second)).generation == "a"


async def test_settled_job_never_returns(kit: Kit) -> None:
    """Not even after its lease would have run out."""
    await kit.first.put("a")
    await kit.first.settle(await kit.take(kit.first))
    await kit.first.put("b")
    assert (await kit.run_out(kit.second)).generation == "b"
    if kit.server is not None:
        await asyncio.sleep(LEASE_SECONDS * 2)  # the servers' clock cannot be held
    assert (await kit.run_out(kit.second)).generation == "b"


@on_servers
async def test_renewed_lease_is_kept(kit: Kit) -> None:
    """A worker that renews keeps its job for longer than a lease."""
    await kit.first.put("a")
    lease = await kit.take(kit.first)
    for _ in range(6):
        await asyncio.sleep(LEASE_SECONDS / 3)
        await kit.first.renew(lease)
        assert await kit.second.take(0.001) is None


async def test_released_job_returns_at_once(kit: Kit) -> None:
    """Without waiting for the lease."""
    await kit.first.put("a")
    await kit.first.release(await kit.take(kit.first))
    lease = await kit.take(kit.second)
    assert lease.generation == "a"
    await kit.second.settle(lease)
    assert await kit.first.take(0.001) is None


async def test_stop_reaches_every_worker(kit: Kit) -> None:
    """Each listener hears each announcement."""
    heard: list[str] = []

    async def listen(queue: GenerationQueue) -> None:
        async with aclosing(queue.stops()) as stops:  # type: ignore[type-var]
            async for generation in stops:
                heard.append(generation)
                return

    listeners = [asyncio.create_task(listen(queue)) for queue in (kit.first, kit.second)]
    async with asyncio.timeout(5):
        while not all(listener.done() for listener in listeners):
            await kit.first.announce_stop("a")
            await asyncio.sleep(0)
    assert heard == ["a", "a"]


@on_servers
async def test_group_is_made_anew(kit: Kit) -> None:
    """A Redis that came back empty takes jobs again."""
    await kit.first.put("a")
    await kit.take(kit.first)
    await kit.server.flushall()
    await kit.first.put("b")
    assert (await kit.take(kit.first)).generation == "b"
