"""Answers of one chat, from many requests at once on two nodes to their ends on two workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from hub.backends.redis import generations as redis_store
from hub.core.generation import GenerationRequest, Message, OnBusy, Status
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Text
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.engine.tasks import Supervisor, SystemClock
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.errors import CallerError, Conflict, TooManyRequests
from hub.ports.backend import Backend
from hub.testing import generations as memory_store
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, until
from tests.redis_backend import redis_backend

REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m", chat="c1")


class CountingUpstream:
    """Counts the answers that run at the same time. While `is_held`, none goes on."""

    def __init__(self) -> None:
        self.running = 0
        self.max_running = 0
        self.started_count = 0
        self.is_held = False

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.running += 1
        self.started_count += 1
        self.max_running = max(self.max_running, self.running)
        try:
            for n in range(3):
                yield [Text(f"{n} ")]
                await asyncio.sleep(0)
                while self.is_held:
                    await asyncio.sleep(0.001)
            yield [Finished("stop")]
        finally:
            self.running -= 1


class World:
    """Two nodes and two workers on one store."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.upstream = CountingUpstream()
        self.backend = backends[0]
        self.nodes = [Generations(each.events, each.generations, each.queue) for each in backends]
        self.workers = [self._worker(each) for each in backends]
        jobs = GenerationJobs(self.backend.events, self.backend.generations, self.backend.queue)
        self.reconciler = Reconciler(
            jobs,
            self.backend.generations,
            self.backend.queue,
            FakeClock(),
            ReconcilerTimes(lease_seconds=1e-6, max_queued_seconds=1e9),
        )

    def _worker(self, backend: Backend) -> Worker:
        jobs = GenerationJobs(backend.events, backend.generations, backend.queue)
        upstreams: Any = {"main": self.upstream}
        clock = SystemClock()
        return Worker(
            backend.queue,
            backend.generations,
            Relay(backend.events, backend.generations, upstreams, clock, RELAY_LIMITS),
            clock,
            concurrency=20,
            lease_seconds=60.0,
            on_result=lambda result: jobs.add_next(result.generation),
        )

    async def ask(self, on_busy: OnBusy, count: int) -> list[str]:
        """Send so many requests at once, half of them to each node. Return what was started."""
        calls = [self.nodes[n % 2].start("alice", REQUEST, None, on_busy) for n in range(count)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [each for each in results if isinstance(each, BaseException)]
        assert all(isinstance(each, CallerError) for each in refused), refused
        return [each.generation for each in results if not isinstance(each, BaseException)]

    async def statuses(self, generations: Sequence[str]) -> list[Status]:
        records = [await self.nodes[0].find(each, "alice") for each in generations]
        return [record.status for record in records]

    async def wait_for_ends(self, generations: Sequence[str]) -> list[Status]:
        async with asyncio.timeout(60):
            while not all(each.ended for each in await self.statuses(generations)):
                await asyncio.sleep(0.01)
        return await self.statuses(generations)


@asynccontextmanager
async def opened_world(kind: str, open_redis: Any) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        tasks = await opened.enter_async_context(Supervisor(SystemClock()))
        if kind == "memory":
            backends: list[Any] = [MemoryBackend()] * 2
        else:
            client = (await open_redis(kind)).hub_client
            backends = [redis_backend(client) for _ in range(2)]
            for n, backend in enumerate(backends):
                tasks.start(f"queue {n}", backend.queue.run)
        world = World(backends)
        for n, worker in enumerate(world.workers):
            tasks.start(f"fetch {n}", worker.run_fetch)
            tasks.start(f"notices {n}", worker.run_notices)
        yield world


@pytest.fixture(params=["memory", "valkey"])
async def world(request: pytest.FixtureRequest, open_redis: Any) -> AsyncIterator[World]:
    """Two nodes and two workers, in memory and with Valkey."""
    async with opened_world(request.param, open_redis) as world:
        yield world


@pytest.mark.parametrize("on_busy", [OnBusy.REJECT, OnBusy.ENQUEUE, OnBusy.INTERRUPT])
async def test_racing_requests_never_run_together(world: World, on_busy: OnBusy) -> None:
    """Of 200 requests at once in one chat never two run, and each that was taken ends."""
    started = await world.ask(on_busy, 200)
    statuses = await world.wait_for_ends(started)
    assert world.upstream.max_running == 1
    if on_busy is OnBusy.REJECT:
        assert set(statuses) == {Status.DONE}
        assert len(started) < 200
    elif on_busy is OnBusy.ENQUEUE:
        assert statuses == [Status.DONE] * 200
        assert world.upstream.started_count == 200
    else:
        assert set(statuses) <= {Status.DONE, Status.STOPPED}
        assert Status.DONE in statuses  # the last one is interrupted by nobody
    after = await world.ask(OnBusy.REJECT, 1)
    assert len(after) == 1
    await world.wait_for_ends(after)  # an answer that runs would delay the end of the test


async def test_mixed_requests(world: World) -> None:
    """Requests of all kinds but `allow` never run together."""
    kinds = [OnBusy.REJECT, OnBusy.ENQUEUE, OnBusy.INTERRUPT]
    started = await asyncio.gather(*(world.ask(kind, 20) for kind in kinds))
    await world.wait_for_ends([each for of_kind in started for each in of_kind])
    assert world.upstream.max_running == 1


async def test_allowed_requests_run_together(world: World) -> None:
    """`allow` is the default: nothing waits."""
    world.upstream.is_held = True
    started = await world.ask(OnBusy.ALLOW, 4)
    await until(lambda: world.upstream.running == 4)
    world.upstream.is_held = False
    assert await world.wait_for_ends(started) == [Status.DONE] * 4


async def test_stopping_a_waiting_answer(world: World) -> None:
    """It ends at once, although the answer before it runs, and the one behind it waits on."""
    world.upstream.is_held = True
    running, middle, last = [(await world.ask(OnBusy.ENQUEUE, 1))[0] for _ in range(3)]
    await until(lambda: world.upstream.running == 1)
    await world.nodes[0].stop(middle, "alice")
    assert (await world.statuses([middle, last])) == [Status.STOPPED, Status.QUEUED]
    assert world.upstream.started_count == 1
    world.upstream.is_held = False
    assert await world.wait_for_ends([running, last]) == [Status.DONE] * 2


async def test_next_answer_that_nobody_told(world: World) -> None:
    """If the process ends that should have queued the next answer, the reconciler queues it."""
    world.upstream.is_held = True
    for worker in world.workers:
        worker._on_result = _forget
    (first,), (second,) = [await world.ask(OnBusy.ENQUEUE, 1) for _ in range(2)]
    await until(lambda: world.upstream.running == 1)
    await world.reconciler.check()
    world.upstream.is_held = False
    await world.wait_for_ends([first])
    assert await world.statuses([second]) == [Status.QUEUED]
    async with asyncio.timeout(60):
        while await world.statuses([second]) != [Status.DONE]:
            await world.reconciler.check()
            await asyncio.sleep(0.01)
    assert world.upstream.max_running == 1


async def _forget(result: Any) -> None:
    """Do nothing with the result."""


async def test_repeated_request_of_a_waiting_answer(world: World) -> None:
    """The same idempotency key finds the waiting answer and does not start it."""
    world.upstream.is_held = True
    node = world.nodes[0]
    await node.start("alice", REQUEST, None, OnBusy.ENQUEUE)
    await until(lambda: world.upstream.running == 1)
    first = await node.start("alice", REQUEST, "k", OnBusy.ENQUEUE)
    again = await world.nodes[1].start("alice", REQUEST, "k", OnBusy.ENQUEUE)
    assert (again.generation, again.new) == (first.generation, False)
    assert await world.statuses([first.generation]) == [Status.QUEUED]
    world.upstream.is_held = False
    assert await world.wait_for_ends([first.generation]) == [Status.DONE]
    assert world.upstream.max_running == 1


async def test_too_many_open_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat has a bounded number of open answers; the refused request leaves nothing."""
    for module in (redis_store, memory_store):
        monkeypatch.setattr(module, "MAX_OPEN_PER_CHAT", 3)
    world.upstream.is_held = True
    started = [(await world.ask(OnBusy.ENQUEUE, 1))[0] for _ in range(3)]
    for on_busy, error in (
        (OnBusy.ENQUEUE, TooManyRequests),
        (OnBusy.INTERRUPT, TooManyRequests),
        (OnBusy.REJECT, Conflict),
    ):
        with pytest.raises(error):
            await world.nodes[0].start("alice", REQUEST, None, on_busy)
    world.upstream.is_held = False
    assert await world.wait_for_ends(started) == [Status.DONE] * 3
