"""The worker fetches, relays and completes jobs, passes on stops, and hands over at shutdown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.fair_queue import Job
from hub.core.generation import (
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.core.parts import Finished, Text
from hub.engine.generations.generations import Generations
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from hub.ports.queue import GenerationQueue, WaitingVersion
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream, settled, until

REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m")


class WorkerTest:
    """Workers on one queue; the upstream waits at a gate after its first token."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.queue = self.backend.queue
        self.clock = FakeClock()
        self.gate = Gate()
        self.upstream = ScriptedUpstream([Text("a"), self.gate, Text("b"), Finished("stop")])
        self.generations = Generations(self.backend.events, self.backend.generations, self.queue)
        self.tasks: list[asyncio.Task[None]] = []

    def worker(
        self, concurrency: int = 10, queue: GenerationQueue | None = None, **options: Any
    ) -> Worker:
        relay = Relay(
            self.backend.events,
            self.backend.generations,
            {"main": self.upstream},
            self.clock,
            msgspec.structs.replace(RELAY_LIMITS, broker_timeout_seconds=1.0),
            **options,
        )
        worker = Worker(
            queue or self.queue,
            self.backend.generations,
            relay,
            self.clock,
            concurrency=concurrency,
            lease_seconds=15.0,
        )
        self.tasks += [
            asyncio.create_task(worker.run_fetch()),
            asyncio.create_task(worker.run_notices()),
            asyncio.create_task(worker.run_leases()),
        ]
        return worker

    async def end(self, worker: Worker, *, stop: str | None = None) -> None:
        """End a worker, which gives its job back. stop: a generation that is stopped first."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if stop is not None:
            await self.generations.stop(stop, "alice")
        force = asyncio.Event()
        force.set()
        await worker.shut_down(0.0, force)

    async def begin_elsewhere(self, generation: str) -> None:
        """Begin the second attempt at a generation, as a worker that dies afterwards."""
        begin = GenerationUpdate(generation, 2, UpdateKind.BEGIN, writer="of a worker that died")
        data = json.dumps({"generation": generation}).encode()
        restarted = Publication(
            channel=user_channel("alice"), name="generation.restarted", data=data, update=begin
        )
        await self.backend.events.publish([restarted])

    async def start_generation(self) -> str:
        return (await self.generations.start("alice", REQUEST)).generation

    async def status(self, generation: str) -> Status:
        return (await self.generations.find(generation, "alice")).status


@pytest.fixture
async def case() -> AsyncIterator[WorkerTest]:
    """Yield workers whose tasks end with the test."""
    case = WorkerTest()
    yield case
    for task in case.tasks:
        task.cancel()
    await asyncio.gather(*case.tasks, return_exceptions=True)


async def test_job_is_relayed_and_completed(case: WorkerTest) -> None:
    """A done answer leaves no lease behind."""
    worker = case.worker()
    generation = await case.start_generation()
    await until(lambda: bool(case.upstream.closed))
    await settled()
    await worker.shut_down(1.0, asyncio.Event())
    assert await case.status(generation) is Status.DONE
    case.queue.expire_leases()
    assert await case.queue.reserve(0.001) is None


@pytest.mark.parametrize("label", ["", "v1"])
@pytest.mark.parametrize("pinned", [["main"], []])
async def test_lost_run_of_another_version(case: WorkerTest, label: str, pinned: list[str]) -> None:
    """Only a pinned run waits for a worker of the version that began it."""
    case.gate.close()
    first = case.worker(version=label, pinned=pinned)
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await case.end(first)
    case.gate.open()
    case.worker(version="v2", pinned=pinned)
    await settled()
    if pinned:
        assert await case.queue.waiting_versions() == [WaitingVersion("default", label, 1, 0)]
        assert await case.status(generation) is Status.RUNNING
    else:
        await until(lambda: case.upstream.closed == 2)
        await settled()
        assert await case.status(generation) is Status.DONE


async def test_stop_of_a_run_of_another_version(case: WorkerTest) -> None:
    """Any worker ends a run that was stopped, and one that may not be continued."""
    case.gate.close()
    first = case.worker(version="v1", pinned=["main"])
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await case.end(first, stop=generation)
    case.worker(version="v2", pinned=["main"])
    while await case.status(generation) is not Status.STOPPED:
        await asyncio.sleep(0)


async def test_concurrency(case: WorkerTest) -> None:
    """Jobs beyond the concurrency stay in the queue, where another worker finds them."""
    case.gate.close()
    case.worker(concurrency=2)
    for _ in range(5):
        await case.start_generation()
    await until(lambda: case.gate.waiting == 2)
    await settled()
    assert len(case.upstream.requests) == 2
    case.gate.open()
    await until(lambda: case.upstream.closed == 5)


async def test_stop_notice(case: WorkerTest) -> None:
    """A stop notice ends a running generation at once."""
    case.gate.close()
    case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await case.generations.stop(generation, "alice")
    await until(lambda: case.upstream.closed == 1)
    await settled()
    assert await case.status(generation) is Status.STOPPED


async def test_lost_stop_notice_is_found_at_renewal(case: WorkerTest) -> None:
    """The stop request in the record is read at the next renewal, a third of a lease later."""
    case.gate.close()
    case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await case.backend.generations.request_stop(generation, "alice")
    await settled()
    await case.clock.advance(5.0)
    await settled()
    assert await case.status(generation) is Status.STOPPED


async def test_shutdown_waits(case: WorkerTest) -> None:
    """A generation that ends before the deadline ends as usual."""
    case.gate.close()
    worker = case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    shutdown = asyncio.create_task(worker.shut_down(10.0, asyncio.Event()))
    await settled()
    case.gate.open()
    await shutdown
    assert await case.status(generation) is Status.DONE


async def test_shutdown_hands_over(case: WorkerTest) -> None:
    """Another worker restarts what still runs at the deadline, and ends it once."""
    case.gate.close()
    first = case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    for task in case.tasks:
        task.cancel()
    await first.shut_down(0.01, asyncio.Event())
    assert await case.status(generation) is Status.RUNNING
    case.gate.open()
    case.worker()
    await until(lambda: case.upstream.closed == 2)
    await settled()
    record = await case.generations.find(generation, "alice")
    assert (record.status, record.attempt, record.text) == (Status.DONE, 2, "ab")


async def test_job_without_a_record_is_completed(case: WorkerTest) -> None:
    """The job of an expired record does nothing and is completed."""
    case.worker()
    await case.queue.enqueue(
        Job(new_generation_id(partition_of(user_channel("alice"))), "alice", "main")
    )
    await settled()
    case.queue.expire_leases()
    assert await case.queue.reserve(0.001) is None


async def test_broker_outage_leaves_the_job_to_its_lease(case: WorkerTest) -> None:
    """A job whose generation did not end is not completed; its lease expires."""
    case.gate.close()
    case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    case.backend.is_unavailable = True
    case.gate.open()
    await settled()
    await case.clock.advance(2.0)
    case.backend.is_unavailable = False
    assert await case.status(generation) is Status.RUNNING
    case.queue.expire_leases()
    await until(lambda: case.upstream.closed == 2)
    await settled()
    assert await case.status(generation) is Status.DONE


async def test_lost_lease_cancels_the_job(case: WorkerTest) -> None:
    """A worker that lost a lease closes its upstream and does not release the job."""
    case.gate.close()
    case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await settled()
    case.queue.expire_leases()
    taken = await case.queue.reserve(1.0)
    assert taken is not None
    await case.queue.complete(taken)
    await case.clock.advance(5.0)
    await settled()
    assert case.upstream.closed == 1
    assert await case.queue.reserve(0.001) is None
    assert await case.status(generation) is Status.RUNNING


class FrozenQueue:
    """The queue as a worker sees it that freezes at one of its calls.

    The call itself is executed, and its result waits at the gate, as when the process is stopped
    while it waits for the reply.
    """

    def __init__(self, queue: GenerationQueue, call: str) -> None:
        self.gate = Gate()
        self.gate.close()
        self._queue = queue
        self._call = call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._queue, name)
        if name != self._call:
            return method

        async def frozen(*arguments: Any, **options: Any) -> Any:
            result = await method(*arguments, **options)
            if result is not None or name != "reserve":  # a worker without a job asks again
                await self.gate.passed()
            return result

        return frozen


@pytest.mark.parametrize("call", ["reserve", "renew"])
async def test_frozen_worker(case: WorkerTest, call: str) -> None:
    """A worker that freezes before it begins does not disturb the one that has the job now."""
    frozen: Any = FrozenQueue(case.queue, call)
    case.gate.close()
    case.worker(concurrency=1, queue=frozen)  # it fetches nothing else
    generation = await case.start_generation()
    await until(lambda: frozen.gate.waiting == 1)
    case.queue.expire_leases()
    case.worker()
    await until(lambda: case.gate.waiting == 1)
    await settled()
    frozen.gate.open()
    await settled()
    case.gate.open()
    await until(lambda: case.upstream.closed == 1)
    await settled()
    record = await case.generations.find(generation, "alice")
    assert (record.status, record.attempt, record.text) == (Status.DONE, 1, "ab")
    case.queue.expire_leases()
    assert await case.queue.reserve(0.001) is None


async def test_refused_worker_leaves_the_job_to_others(case: WorkerTest) -> None:
    """A refusal completes no job whose generation has not ended."""
    case.gate.close()
    case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await settled()
    await case.begin_elsewhere(generation)
    case.gate.open()
    await until(lambda: case.upstream.closed == 2)
    await settled()
    record = await case.generations.find(generation, "alice")
    assert (record.status, record.attempt, record.text) == (Status.DONE, 3, "ab")
    case.queue.expire_leases()
    assert await case.queue.reserve(0.001) is None


async def test_job_that_a_worker_releases_and_gets_again(case: WorkerTest) -> None:
    """The worker relays it, also when it gets the job before the reply to its release."""
    frozen: Any = FrozenQueue(case.queue, "release")
    case.gate.close()
    case.worker(queue=frozen)
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    await case.begin_elsewhere(generation)
    case.gate.open()
    await until(lambda: frozen.gate.waiting == 1)
    await settled()
    assert await case.status(generation) is Status.DONE
    frozen.gate.open()


async def test_next_job_of_a_generation(case: WorkerTest) -> None:
    """A worker completes it, also when it gets the job before the reply to the first completion."""
    frozen: Any = FrozenQueue(case.queue, "complete")
    case.worker(queue=frozen)
    generation = await case.start_generation()
    await until(lambda: frozen.gate.waiting == 1)
    await case.queue.enqueue(Job(generation, "alice", "main"))
    await settled()
    assert (await case.queue.list_jobs(1)).total == 0
    frozen.gate.open()


async def test_forced_shutdown(case: WorkerTest) -> None:
    """A second signal releases the running jobs at once."""
    case.gate.close()
    worker = case.worker()
    generation = await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    for task in case.tasks:
        task.cancel()
    force = asyncio.Event()
    shutdown = asyncio.create_task(worker.shut_down(3600.0, force))
    await settled()
    assert not shutdown.done()
    force.set()
    await shutdown
    lease = await case.queue.reserve(1.0)
    assert lease is not None
    assert lease.generation == generation


async def test_failed_renewal_is_repeated_soon(case: WorkerTest) -> None:
    """A broker that does not answer once costs no worker its leases."""
    queue, renewals = case.queue, list[float]()

    class UnreliableQueue:
        def __getattr__(self, name: str) -> Any:
            return getattr(queue, name)

        async def renew(self, leases: Any) -> Any:
            renewals.append(case.clock.now())
            if len(renewals) == 2:
                raise BrokerUnavailable("stalled")
            return await queue.renew(leases)

    case.gate.close()
    case.worker(queue=cast(GenerationQueue, UnreliableQueue()))
    await case.start_generation()
    await until(lambda: case.gate.waiting == 1)
    assert len(renewals) == 1  # when the attempt began
    await case.clock.advance(5.0)
    await case.clock.advance(0.5)
    assert len(renewals) == 3
    await case.clock.advance(4.5)
    assert len(renewals) == 3
    case.gate.open()


async def test_stop_requests_are_read_at_once(
    case: WorkerTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between two renewals does not grow with the number of answers of a worker."""
    reads, store = Gate(), case.backend.generations
    read = store.stop_requested_by

    async def read_slowly(generation: str) -> str | None:
        await reads.passed()
        return await read(generation)

    monkeypatch.setattr(store, "stop_requested_by", read_slowly)
    case.gate.close()
    case.worker()
    for _ in range(3):
        await case.start_generation()
    await until(lambda: case.gate.waiting == 3)
    reads.close()
    await case.clock.advance(5.0)
    assert reads.waiting == 3
    reads.open()
    case.gate.open()
