"""The worker: takes, relays, settles; passes stops on; hands over at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.fair_queue import Job
from hub.core.generation import GenerationRequest, Message, Status, new_generation_id
from hub.core.stream_parts import Finished, TextDelta
from hub.engine.generations import Generations
from hub.engine.relay import Relay
from hub.engine.worker import Worker
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream, settled, until

QUESTION = GenerationRequest([Message("user", "hi")], upstream="main", model="m")


class Shop:
    """One or more workers on one queue; the upstream waits at a gate after its first token."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.queue = self.backend.queue
        self.clock = FakeClock()
        self.gate = Gate()
        self.upstream = ScriptedUpstream(
            [TextDelta("a"), self.gate, TextDelta("b"), Finished("stop")]
        )
        self.generations = Generations(self.backend.events, self.backend.generations, self.queue)
        self.tasks: list[asyncio.Task[None]] = []

    def worker(self, concurrency: int = 10) -> Worker:
        relay = Relay(
            self.backend.events,
            self.backend.generations,
            {"main": self.upstream},
            self.clock,
            msgspec.structs.replace(RELAY_LIMITS, broker_timeout_seconds=1.0),
        )
        worker = Worker(
            self.queue,
            self.backend.generations,
            relay,
            self.clock,
            concurrency=concurrency,
            lease_seconds=15.0,
        )
        self.tasks += [
            asyncio.create_task(worker.run_fetch()),
            asyncio.create_task(worker.run_stops()),
            asyncio.create_task(worker.run_leases()),
        ]
        return worker

    async def ask(self) -> str:
        return (await self.generations.start("alice", QUESTION)).generation

    async def status(self, generation: str) -> Status:
        return (await self.generations.find(generation, "alice")).status


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop; its workers' tasks end with the test."""
    shop = Shop()
    yield shop
    for task in shop.tasks:
        task.cancel()
    await asyncio.gather(*shop.tasks, return_exceptions=True)


async def test_job_is_relayed_and_settled(shop: Shop) -> None:
    """When the answer is done, no lease is left to run out."""
    worker = shop.worker()
    generation = await shop.ask()
    await until(lambda: bool(shop.upstream.closed))
    await settled()
    await worker.shut_down(1.0, asyncio.Event())
    assert await shop.status(generation) is Status.DONE
    shop.queue.expire_leases()
    assert await shop.queue.reserve(0.001) is None


async def test_no_more_than_its_concurrency(shop: Shop) -> None:
    """The rest waits in the queue, where another worker finds it."""
    shop.gate.close()
    shop.worker(concurrency=2)
    for _ in range(5):
        await shop.ask()
    await until(lambda: shop.gate.waiting == 2)
    await settled()
    assert len(shop.upstream.requests) == 2
    shop.gate.open()
    await until(lambda: shop.upstream.closed == 5)


async def test_stop_is_heard(shop: Shop) -> None:
    """From whichever node: the notice ends it at once."""
    shop.gate.close()
    shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    await shop.generations.stop(generation, "alice")
    await until(lambda: shop.upstream.closed == 1)
    await settled()
    assert await shop.status(generation) is Status.STOPPED


async def test_lost_notice_is_found_by_the_renewal(shop: Shop) -> None:
    """The wish in the record is looked at a third of a lease later at the latest."""
    shop.gate.close()
    shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    await shop.backend.generations.request_stop(generation, "alice")
    await settled()
    await shop.clock.advance(5.0)
    await settled()
    assert await shop.status(generation) is Status.STOPPED


async def test_shutdown_lets_finish(shop: Shop) -> None:
    """What ends before the deadline ends as usual."""
    shop.gate.close()
    worker = shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    ending = asyncio.create_task(worker.shut_down(10.0, asyncio.Event()))
    await settled()
    shop.gate.open()
    await ending
    assert await shop.status(generation) is Status.DONE


async def test_shutdown_hands_over(shop: Shop) -> None:
    """What still runs at the deadline is another worker's, which restarts it and ends it once."""
    shop.gate.close()
    first = shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    for task in shop.tasks:
        task.cancel()
    await first.shut_down(0.01, asyncio.Event())
    assert await shop.status(generation) is Status.RUNNING
    shop.gate.open()
    shop.worker()
    await until(lambda: shop.upstream.closed == 2)
    await settled()
    found = await shop.generations.find(generation, "alice")
    assert (found.status, found.attempt, found.text) == (Status.DONE, 2, "ab")


async def test_job_without_a_record_is_settled(shop: Shop) -> None:
    """A record that has expired leaves a job that does nothing."""
    shop.worker()
    await shop.queue.enqueue(
        Job(new_generation_id(partition_of(user_channel("alice"))), "alice", "main")
    )
    await settled()
    shop.queue.expire_leases()
    assert await shop.queue.reserve(0.001) is None


async def test_broker_away_leaves_the_job_to_its_lease(shop: Shop) -> None:
    """The worker goes on with other work; nothing is settled that did not end."""
    shop.gate.close()
    shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    shop.backend.is_unavailable = True
    shop.gate.open()
    await settled()
    await shop.clock.advance(2.0)
    shop.backend.is_unavailable = False
    assert await shop.status(generation) is Status.RUNNING
    shop.queue.expire_leases()
    await until(lambda: shop.upstream.closed == 2)
    await settled()
    assert await shop.status(generation) is Status.DONE


async def test_lost_lease_ends_the_work(shop: Shop) -> None:
    """A worker whose job is another's closes its upstream, and does not put the job back."""
    shop.gate.close()
    shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    await settled()
    shop.queue.expire_leases()
    taken = await shop.queue.reserve(1.0)
    assert taken is not None
    await shop.queue.complete(taken)
    await shop.clock.advance(5.0)
    await settled()
    assert shop.upstream.closed == 1
    assert await shop.queue.reserve(0.001) is None
    assert await shop.status(generation) is Status.RUNNING


async def test_shutdown_in_a_hurry(shop: Shop) -> None:
    """A second signal hands over at once what runs."""
    shop.gate.close()
    worker = shop.worker()
    generation = await shop.ask()
    await until(lambda: shop.gate.waiting == 1)
    for task in shop.tasks:
        task.cancel()
    hurry = asyncio.Event()
    ending = asyncio.create_task(worker.shut_down(3600.0, hurry))
    await settled()
    assert not ending.done()
    hurry.set()
    await ending
    lease = await shop.queue.reserve(1.0)
    assert lease is not None
    assert lease.generation == generation
