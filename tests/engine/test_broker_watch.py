"""The node measures the memory of the broker and the queue of answers."""

from __future__ import annotations

import asyncio

from hub.core.fair_queue import Job
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.engine.metrics.broker_watch import BrokerWatch
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.testing.backend import MemoryBackend
from tests.doubles import FakeClock, settled


async def test_gauges_follow_the_queue_and_the_broker() -> None:
    """They have the number of answers that wait and the age of the next one, every 5 s."""
    clock, backend, metrics = FakeClock(), MemoryBackend(), NodeMetrics()
    watch = BrokerWatch(backend.health, backend.queue, backend.generations, clock, metrics)
    task = asyncio.create_task(watch.run())
    await settled()
    gauges = (metrics.waiting, metrics.oldest_waiting, metrics.redis_memory)
    assert [[*gauge.samples()] for gauge in gauges] == [[((), 0)]] * 3
    request = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
    for _ in range(2):
        generation = Generation(id=new_generation_id(0), user="alice", request=request)
        await backend.generations.create(generation, None)
        await backend.queue.enqueue(Job(generation.id, "alice", "main"))
    await clock.advance(5)
    assert [*metrics.waiting.samples()] == [((), 2)]
    ((_, seconds),) = metrics.oldest_waiting.samples()
    assert seconds >= 0
    task.cancel()
