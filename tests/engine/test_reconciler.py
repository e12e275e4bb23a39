"""The reconciler: no generation stays open without a job, or without a worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.fair_queue import QueueLimits
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.ports.events import FROM_START, Publication
from hub.testing.backend import MemoryBackend
from hub.testing.queue import MemoryGenerationQueue
from tests.doubles import FakeClock, Replica, until

ALICE = user_channel("alice")
REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
LEASE, MAX_QUEUED, INTERVAL = 15.0, 60.0, 5.0
LOOKS = round(MAX_QUEUED / INTERVAL)
LIMITS = QueueLimits(max_user_running=1, max_user_queued=1, upstreams={})


class Case:
    """A backend whose time passes by `advance`, and a reconciler."""

    def __init__(self, limits: QueueLimits | None = None) -> None:
        self.passed = 0.0
        self.backend = MemoryBackend(now=lambda: 1.7e9 + self.passed)
        self.queue = self.backend.queue = MemoryGenerationQueue(
            limits, lease_seconds=LEASE, now=lambda: time.monotonic() + self.passed
        )
        self.clock = FakeClock()
        self.generations = Generations(self.backend.events, self.backend.generations, self.queue)
        self.reconciler = Reconciler(
            GenerationJobs(self.backend.events, self.backend.generations, self.queue),
            self.backend.generations,
            self.queue,
            self.clock,
            ReconcilerTimes(lease_seconds=LEASE, max_queued_seconds=MAX_QUEUED),
        )

    async def check(self, *, after_seconds: float = INTERVAL, times: int = 1) -> None:
        for _ in range(times):
            self.passed += after_seconds
            await self.reconciler.check()

    async def start(self) -> str:
        return (await self.generations.start("alice", REQUEST)).generation

    async def create(self) -> str:
        """Create a record whose job was lost."""
        generation = new_generation_id(partition_of(ALICE))
        await self.backend.generations.create(Generation(generation, "alice", REQUEST), None)
        return generation

    async def begin(self, generation: str, attempt: int = 1) -> None:
        update = GenerationUpdate(generation, attempt, UpdateKind.BEGIN, writer="w")
        data = json.dumps({"generation": generation}).encode()
        await self.backend.events.publish(
            [Publication(channel=ALICE, name="generation.started", data=data, update=update)]
        )

    def status(self, generation: str) -> Status:
        return self.backend.generations.records[generation].status

    async def last_event(self) -> tuple[str, dict[str, Any]]:
        pages = await self.backend.events.read({ALICE: FROM_START}, max_events=99, max_bytes=10**6)
        event = pages[ALICE].events[-1]
        return event.name, json.loads(event.data)


@pytest.fixture
def case() -> Case:
    return Case()


async def test_lost_job_is_added_again(case: Case) -> None:
    """A generation without a job is queued again, whether it has started or not."""
    queued, running = await case.create(), await case.create()
    await case.begin(running)
    await case.check()
    await case.check()
    leases = [await case.queue.reserve(1.0) for _ in range(2)]
    assert {lease.generation for lease in leases if lease} == {queued, running}
    assert await case.queue.reserve(0.001) is None


async def test_lost_job_of_a_user_with_a_full_queue() -> None:
    """The limits do not keep a job out that was accepted before."""
    case = Case(LIMITS)
    lost = await case.create()
    for _ in range(2):
        await case.start()
    await case.check()
    taken = []
    for _ in range(3):
        lease = await case.queue.reserve(1.0)
        assert lease is not None
        taken.append(lease.generation)
        await case.queue.complete(lease)
    assert lost in taken


async def test_new_generation_is_left_to_its_request(case: Case) -> None:
    """A record whose job is about to be added is not touched."""
    generation = await case.create()
    await case.check(after_seconds=0.0)
    assert await case.queue.job_states([generation]) == [None]


@pytest.mark.parametrize("is_reserved", [False, True])
async def test_no_worker(case: Case, is_reserved: bool) -> None:
    """A request that no worker starts in time ends as `queue_timeout`, and its job is removed."""
    generation = await case.start()
    if is_reserved:  # by a worker that died
        await case.queue.reserve(1.0)
        await case.check(after_seconds=LEASE - 1)
    await case.check(times=LOOKS)
    assert case.status(generation) is Status.QUEUED
    await case.check()
    name, data = await case.last_event()
    assert (name, data["code"]) == ("generation.failed", "queue_timeout")
    assert data["message"] == "no worker was free in time to start the answer"
    assert data["seconds"]["queued"] > MAX_QUEUED
    assert await case.queue.job_states([generation]) == [None]
    assert await case.queue.reserve(0.001) is None


async def test_waiting_job_without_a_worker() -> None:
    """A job that waits behind others of its user ends in time as well."""
    case = Case(LIMITS)
    generations = [await case.start() for _ in range(2)]
    await case.check(times=LOOKS + 1)
    assert [case.status(each) for each in generations] == [Status.FAILED] * 2
    assert await case.queue.job_states(generations) == [None, None]


async def test_job_that_a_worker_holds(case: Case) -> None:
    """A job with a renewed lease is left alone, however old the request is."""
    queued, running = await case.start(), await case.start()
    leases = [await case.queue.reserve(1.0) for _ in range(2)]
    await case.begin(running)
    await case.backend.generations.request_stop(running, "alice")
    for _ in range(LOOKS + 2):
        assert not await case.queue.renew([lease for lease in leases if lease])
        await case.check(after_seconds=LEASE - 1)
    assert (case.status(queued), case.status(running)) == (Status.QUEUED, Status.STOPPING)


async def test_started_answer_without_a_worker(case: Case) -> None:
    """An answer whose worker died ends when no other worker has come for too long."""
    generation = await case.start()
    await case.queue.reserve(1.0)
    await case.begin(generation)
    await case.check(after_seconds=LEASE - 1)
    await case.check(times=LOOKS)
    assert case.status(generation) is Status.RUNNING
    await case.check()
    name, data = await case.last_event()
    assert (name, data["code"]) == ("generation.failed", "queue_timeout")
    assert data["message"] == "no worker was free in time to continue the answer"
    assert await case.queue.job_states([generation]) == [None]


@pytest.mark.parametrize("has_job", [False, True])
async def test_stop_without_a_worker(case: Case, has_job: bool) -> None:
    """A stop request ends an answer whose job or worker is lost."""
    generation = await (case.start() if has_job else case.create())
    if has_job:
        await case.queue.reserve(1.0)
    await case.begin(generation)
    await case.generations.stop(generation, "alice")
    assert case.status(generation) is Status.STOPPING
    await case.check(after_seconds=LEASE + 1)
    name, data = await case.last_event()
    assert (name, data["by"]) == ("generation.stopped", "alice")
    assert case.status(generation) is Status.STOPPED


async def test_worker_that_starts_at_the_same_time(case: Case) -> None:
    """The end of a reconciler is refused when a worker has started the answer meanwhile."""
    generation = await case.start()
    find = case.backend.generations.find

    async def find_and_lose_the_race(name: str) -> Generation | None:
        record = await find(name)
        if case.status(generation) is Status.QUEUED:
            await case.begin(generation)
        return record

    case.backend.generations.find = find_and_lose_the_race  # type: ignore[assignment,method-assign]
    await case.check(times=LOOKS + 1)
    assert case.status(generation) is Status.RUNNING
    (state,) = await case.queue.job_states([generation])
    assert state is not None


async def test_record_that_cannot_be_read(case: Case) -> None:
    """One broken record does not keep the others from being reconciled."""
    broken, lost = await case.create(), await case.create()
    find = case.backend.generations.find

    async def find_other(name: str) -> Generation | None:
        if name == broken:
            raise ValueError("not JSON")
        return await find(name)

    case.backend.generations.find = find_other  # type: ignore[assignment,method-assign]
    await case.check()
    (state,) = await case.queue.job_states([lost])
    assert state is not None


@pytest.mark.parametrize("lose", ["record", "job", "both"])
async def test_fail_over_of_one_slot(case: Case, lose: str) -> None:
    """After any loss the generation has a job, or no record: nobody waits for it."""
    replica = Replica(case.backend)
    generation = await case.start()
    replica.promote(records=lose != "job", queue=lose != "record")
    await case.check()
    has_record = generation in case.backend.generations.records
    (state,) = await case.queue.job_states([generation])
    assert has_record is (lose == "job")
    assert state is not None or not has_record


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_fail_over_to_another_clock(case: Case, jump: float) -> None:
    """Answers that wait, run or have lost their job survive a jump of the time of Redis."""
    waiting, running, lost = await case.start(), await case.start(), await case.create()
    leases = [lease for lease in [await case.queue.reserve(1.0) for _ in range(2)] if lease]
    await case.queue.release(next(each for each in leases if each.generation == waiting))
    held = [each for each in leases if each.generation == running]
    await case.begin(running)
    await case.check()
    case.passed += jump
    await case.check()
    await case.queue.renew(held)
    await case.check()
    statuses = [case.status(each) for each in (waiting, running, lost)]
    assert statuses == [Status.QUEUED, Status.RUNNING, Status.QUEUED]
    assert None not in await case.queue.job_states([waiting, running, lost])


async def test_run_checks_at_intervals(case: Case) -> None:
    """The reconciler checks three times in the length of a lease."""
    generation = await case.create()
    task = asyncio.create_task(case.reconciler.run())
    sleeping: Callable[[], bool] = lambda: bool(case.clock._sleepers)  # noqa: E731
    await until(sleeping)
    case.passed += INTERVAL
    await case.clock.advance(INTERVAL)
    await until(sleeping)
    assert await case.queue.job_states([generation]) != [None]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
