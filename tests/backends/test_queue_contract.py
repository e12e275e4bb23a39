"""What every queue must do: one suite over memory, fakeredis, Valkey and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from hub.backends.redis.queue import RedisGenerationQueue
from hub.core.fair_queue import Admission, Job, QueueLimits, UpstreamLimits
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.queue import GenerationQueue, Lease
from hub.testing.queue import MemoryGenerationQueue

LEASE_SECONDS = 0.3  # where it is to run out
LONG_LEASE_SECONDS = 1.5  # where it is to be renewed in time, also on a busy machine
CAPS = QueueLimits(
    max_user_running=3,
    max_user_queued=4,
    upstreams={"small": UpstreamLimits(max_running=1, max_queued=3), "open": UpstreamLimits()},
)


def job(generation: str, user: str = "alice", upstream: str = "open") -> Job:
    """A job."""
    return Job(generation, user, upstream)


class Kit:
    """Two workers' ends of one queue."""

    def __init__(self, first: GenerationQueue, second: GenerationQueue, server: Any = None) -> None:
        self.first = first
        self.second = second
        self.server = server

    async def run_out(self, queue: GenerationQueue) -> Lease:
        """The lease that ran out, taken by this end: time does it, or the double is told."""
        if isinstance(queue, MemoryGenerationQueue):
            queue.expire_leases()
        return await self.take(queue)

    async def take(self, queue: GenerationQueue) -> Lease:
        """The next job; fakeredis does not block, so it is asked again."""
        async with asyncio.timeout(30):
            while (lease := await queue.reserve(0.02)) is None:
                await asyncio.sleep(0)
            return lease


@pytest.fixture
def lease_seconds() -> float:
    """Nobody's runs out."""
    return 60.0


@pytest.fixture(params=["memory", "fakeredis", "valkey", "redis"])
async def kit(
    request: pytest.FixtureRequest, open_redis: Any, lease_seconds: float
) -> AsyncIterator[Kit]:
    """The queue in memory, or RedisGenerationQueue over each server."""
    if request.param == "memory":
        memory = MemoryGenerationQueue(CAPS)
        yield Kit(memory, memory)
        return
    server = await open_redis(request.param)
    queues = [
        RedisGenerationQueue(server.link, CAPS, lease_seconds=lease_seconds, queues=("default",))
        for _ in range(2)
    ]
    async with Supervisor(SystemClock()) as tasks:
        for n, queue in enumerate(queues):
            tasks.start(f"queue {n}", queue.run)
        yield Kit(queues[0], queues[1], server.client)


runs_out = pytest.mark.parametrize("lease_seconds", [LEASE_SECONDS])
is_renewed = pytest.mark.parametrize("lease_seconds", [LONG_LEASE_SECONDS])
# What has no meaning for a queue without a clock and a server of its own.
on_servers = pytest.mark.parametrize("kit", ["fakeredis", "valkey", "redis"], indirect=True)


async def test_jobs_come_in_order(kit: Kit) -> None:
    """First come, first served, each to one worker."""
    for name in ("a", "b", "c"):
        await kit.first.enqueue(job(name))
    queues = (kit.first, kit.second, kit.first)
    assert [(await kit.take(queue)).generation for queue in queues] == ["a", "b", "c"]


async def test_nothing_to_take(kit: Kit) -> None:
    """None, when nothing came in time."""
    assert await kit.first.reserve(0.01) is None


async def test_job_that_comes_while_waiting(kit: Kit) -> None:
    """A worker that waits gets it."""
    waiting = asyncio.create_task(kit.take(kit.first))
    await asyncio.sleep(0)
    await kit.second.enqueue(job("a"))
    assert (await waiting).generation == "a"


@runs_out
async def test_abandoned_job_is_anothers(kit: Kit) -> None:
    """When the lease has run out, another worker gets the job."""
    await kit.first.enqueue(job("a"))
    await kit.take(kit.first)
    assert (await kit.run_out(kit.second)).generation == "a"


@is_renewed
@on_servers
async def test_abandoned_job_behind_many_that_are_held(kit: Kit) -> None:
    """It is found however many are in front of it."""
    jobs = [job(f"a{n}", user=f"u{n}") for n in range(40)]
    for each in jobs:
        await kit.first.enqueue(each)
    held = [await kit.take(kit.first) for _ in jobs]
    for _ in range(6):
        await asyncio.sleep(LONG_LEASE_SECONDS / 3)
        await kit.first.renew(held[:-1])
    assert (await kit.take(kit.second)).generation == "a39"


@runs_out
async def test_settled_job_never_returns(kit: Kit) -> None:
    """Not even after its lease would have run out."""
    await kit.first.enqueue(job("a"))
    await kit.first.complete(await kit.take(kit.first))
    await kit.first.enqueue(job("b"))
    assert (await kit.run_out(kit.second)).generation == "b"
    if kit.server is not None:
        await asyncio.sleep(LEASE_SECONDS * 2)  # the servers' clock cannot be held
    assert (await kit.run_out(kit.second)).generation == "b"


@is_renewed
@on_servers
async def test_renewed_lease_is_kept(kit: Kit) -> None:
    """A worker that renews keeps its job for longer than a lease."""
    await kit.first.enqueue(job("a"))
    lease = await kit.take(kit.first)
    for _ in range(6):
        await asyncio.sleep(LONG_LEASE_SECONDS / 3)
        assert not await kit.first.renew([lease])
        assert await kit.second.reserve(0.001) is None


async def test_released_job_returns_at_once(kit: Kit) -> None:
    """Without waiting for the lease."""
    await kit.first.enqueue(job("a"))
    await kit.first.release(await kit.take(kit.first))
    lease = await kit.take(kit.second)
    assert lease.generation == "a"
    await kit.second.complete(lease)
    assert await kit.first.reserve(0.001) is None


async def test_stop_reaches_every_worker(kit: Kit) -> None:
    """Each listener hears each announcement."""
    heard: list[str] = []

    async def listen(queue: GenerationQueue) -> None:
        async with aclosing(queue.stops()) as stops:  # type: ignore[type-var]
            async for generation in stops:
                heard.append(generation)
                return

    listeners = [asyncio.create_task(listen(queue)) for queue in (kit.first, kit.second)]
    async with asyncio.timeout(30):
        while not all(listener.done() for listener in listeners):
            await kit.first.broadcast_stop("a")
            await asyncio.sleep(0)
    assert heard == ["a", "a"]


@on_servers
async def test_group_is_made_anew(kit: Kit) -> None:
    """A Redis that came back empty takes jobs again."""
    await kit.first.enqueue(job("a"))
    await kit.take(kit.first)
    await kit.server.flushall()
    await kit.first.enqueue(job("b"))
    assert (await kit.take(kit.first)).generation == "b"


@runs_out
async def test_lost_lease_is_said(kit: Kit) -> None:
    """A worker that was frozen learns that its job is another's, and does not take it back."""
    await kit.first.enqueue(job("a"))
    lease = await kit.take(kit.first)
    taken = await kit.run_out(kit.second)
    assert taken.deliveries == 2
    if kit.server is not None:
        assert await kit.first.renew([lease]) == [lease]
    assert not await kit.second.renew([taken])


@runs_out
@pytest.mark.parametrize("how", ["settle", "release"])
async def test_who_lost_a_lease_ends_nothing(kit: Kit, how: str) -> None:
    """A worker that was frozen and finishes with its job leaves the one who has it alone."""
    await kit.first.enqueue(job("a"))
    lease = await kit.take(kit.first)
    taken = await kit.run_out(kit.second)
    await (kit.first.complete(lease) if how == "settle" else kit.first.release(lease))
    assert not await kit.second.renew([taken])
    assert await kit.first.reserve(0.01) is None
    await kit.second.complete(taken)
    await kit.first.enqueue(job("a"))
    assert (await kit.take(kit.first)).deliveries == 1


async def test_users_take_turns(kit: Kit) -> None:
    """A user with many questions waits for them; another's first one does not."""
    for n in range(7):
        assert await kit.first.enqueue(job(f"a{n}")) is Admission.ACCEPTED
    assert await kit.first.enqueue(job("a7")) is Admission.USER_FULL
    await kit.first.enqueue(job("b0", "bob"))
    order = []
    held = [await kit.take(kit.first) for _ in range(4)]
    assert [lease.generation for lease in held] == ["a0", "a1", "a2", "b0"]
    assert await kit.first.reserve(0.01) is None
    for lease in held[:1]:
        await kit.first.complete(lease)
    order.append((await kit.take(kit.first)).generation)
    assert order == ["a3"]


async def test_waiting_users_take_turns(kit: Kit) -> None:
    """Among those that wait for the same upstream, each user is served in turn."""
    await kit.first.enqueue(job("x", "eve", "small"))
    for n in range(3):
        assert await kit.first.enqueue(job(f"a{n}", "alice", "small")) is Admission.ACCEPTED
    assert await kit.first.enqueue(job("b0", "bob", "small")) is Admission.UPSTREAM_FULL
    first = await kit.take(kit.first)
    assert await kit.first.reserve(0.01) is None
    await kit.first.complete(first)
    await kit.first.enqueue(job("b0", "bob", "small"))
    served = []
    for _ in range(4):
        lease = await kit.take(kit.first)
        served.append(lease.generation)
        await kit.first.complete(lease)
    assert served == ["a0", "a1", "b0", "a2"]


async def test_full_upstream_holds_up_nobody_else(kit: Kit) -> None:
    """What has no room is passed over."""
    for name in ("s0", "s1"):
        await kit.first.enqueue(job(name, upstream="small"))
    await kit.first.enqueue(job("o0"))
    assert [(await kit.take(kit.first)).generation for _ in range(2)] == ["s0", "o0"]


async def test_withdrawn_job_makes_room(kit: Kit) -> None:
    """What waits no more is not counted; what is due is left alone."""
    jobs = [job(f"a{n}") for n in range(7)]
    for each in jobs:
        await kit.first.enqueue(each)
    await kit.first.withdraw(jobs[4])
    await kit.first.withdraw(jobs[4])
    assert await kit.first.enqueue(job("new")) is Admission.ACCEPTED
    assert await kit.first.enqueue(job("more")) is Admission.USER_FULL
    served = []
    for _ in range(7):
        lease = await kit.take(kit.first)
        served.append(lease.generation)
        await kit.first.complete(lease)
    assert served == ["a0", "a1", "a2", "a3", "a5", "a6", "new"]


async def test_same_job_twice_is_once(kit: Kit) -> None:
    """While it waits, and while it runs."""
    await kit.first.enqueue(job("a"))
    await kit.first.enqueue(job("a"))
    lease = await kit.take(kit.first)
    await kit.first.enqueue(job("a"))
    assert await kit.first.reserve(0.01) is None
    await kit.first.complete(lease)
    await kit.first.enqueue(job("a"))
    assert (await kit.take(kit.first)).generation == "a"


@on_servers
async def test_nothing_is_left_of_what_is_over(kit: Kit) -> None:
    """Counts of users that have gone do not stay."""
    for n in range(5):
        await kit.first.enqueue(job(f"a{n}"))
    for _ in range(5):
        await kit.first.complete(await kit.take(kit.first))
    assert set(await kit.server.hkeys("{hub:p00}:jobs:counts")) == {b"c", b"turn"}
    assert not await kit.server.exists("{hub:p00}:jobs:waiting")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_several_queues(kind: str, open_redis: Any) -> None:
    """A worker of two takes from both, one job at a time; the other's jobs are not its own."""
    server = await open_redis(kind)
    both = RedisGenerationQueue(
        server.link, CAPS, lease_seconds=LEASE_SECONDS * 20, queues=("a", "b")
    )
    other = RedisGenerationQueue(server.link, CAPS, lease_seconds=5, queues=("c",))
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("both", both.run)
        tasks.start("other", other.run)
        for n in range(2):
            for queue in ("a", "b", "c"):
                await both.enqueue(Job(f"{queue}{n}", f"user{queue}{n}", "open", queue))
        taken: list[str] = []
        async with asyncio.timeout(30):
            while len(taken) < 4:
                lease = await both.reserve(0.05)
                if lease is not None:
                    taken.append(lease.generation)
        assert sorted(taken) == ["a0", "a1", "b0", "b1"]
        assert await both.reserve(0.01) is None
        lease = await other.reserve(1.0)
        assert lease is not None
        assert lease.generation == "c0"


async def test_what_is_listed(kit: Kit) -> None:
    """Jobs that run before those that wait; none that is over."""
    for n in range(5):
        await kit.first.enqueue(job(f"g{n}"))
    lease = await kit.take(kit.first)
    found = await kit.second.list_jobs(10)
    assert (sorted(found.generations), found.total) == ([f"g{n}" for n in range(5)], 5)
    few = await kit.second.list_jobs(2)
    assert (len(few.generations), few.total) == (2, 5)
    await kit.first.complete(lease)
    assert lease.generation not in (await kit.second.list_jobs(10)).generations
