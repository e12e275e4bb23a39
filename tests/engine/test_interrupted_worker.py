"""A worker that shuts down at any moment loses nothing, and leaves nothing to a lease."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from hub.core.channel import user_channel
from hub.core.generation import GenerationRequest, Message, OnBusy, Status
from hub.core.parts import Finished, Text
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generation_stream import END_EVENTS
from hub.engine.generations.generations import Generations
from hub.engine.tasks import Supervisor
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.ports.events import FROM_START
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream, settled
from tests.interruptions import CallPoints

ALICE = user_channel("alice")
REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m", chat="c1")
NO_LEASE_ENDS = 1e9


class TwoAnswers:
    """Two answers of one chat, the second of which waits for the first; and their workers."""

    def __init__(self, *, is_stopped: bool) -> None:
        self.backend = MemoryBackend(lease_seconds=NO_LEASE_ENDS)
        self.clock = FakeClock()
        self.is_stopped = is_stopped
        self.generations = Generations(
            self.backend.events, self.backend.generations, self.backend.queue
        )
        self.ids: list[str] = []

    async def start(self) -> None:
        for _ in range(2):
            created = await self.generations.start("alice", REQUEST, None, OnBusy.ENQUEUE)
            self.ids.append(created.generation)

    def worker(self, points: CallPoints) -> Worker:
        """Return a worker that makes its calls at the points."""
        parts: list[Any] = [self.backend.events, self.backend.generations, self.backend.queue]
        events, store, queue = map(points.watch, parts)
        jobs = GenerationJobs(events, store, queue)
        gate = Gate()
        if self.is_stopped:
            gate.close()
        upstream: Any = ScriptedUpstream([Text("a"), gate, Text("b"), Finished("stop")])
        return Worker(
            queue,
            store,
            Relay(events, store, {"main": upstream}, self.clock, RELAY_LIMITS),
            self.clock,
            concurrency=1,
            lease_seconds=NO_LEASE_ENDS,
            on_result=lambda result: jobs.go_on_after(result.generation),
            on_released=jobs.check_released,
        )

    async def run(self, worker: Worker) -> None:
        """Let the worker do what it can, and shut it down at once."""
        async with Supervisor(self.clock) as tasks:
            tasks.start("fetch", worker.run_fetch)
            tasks.start("notices", worker.run_notices)
            await settled()
            for each in self.ids if self.is_stopped else ():
                await self.generations.stop(each, "alice")
                await settled()
            await settled()
        force = asyncio.Event()
        force.set()
        await worker.shut_down(0.0, force)

    async def ends(self) -> Counter[str]:
        """Return how many end events each answer has."""
        pages = await self.backend.events.read({ALICE: FROM_START}, max_events=999, max_bytes=10**6)
        ended = [event for event in pages[ALICE].events if event.name in END_EVENTS]
        return Counter(each for each in self.ids for event in ended if each.encode() in event.data)


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_shutdown_at_any_call(is_stopped: bool) -> None:
    """Another worker goes on at once: each answer ends once, also the one that waits."""
    status = Status.STOPPED if is_stopped else Status.DONE
    for n in itertools.count(1):
        answers = TwoAnswers(is_stopped=is_stopped)
        await answers.start()
        points = CallPoints(n, tasks="relay ")
        await answers.run(answers.worker(points))
        await answers.run(answers.worker(CallPoints(0, tasks="relay ")))
        records = [await answers.generations.find(each, "alice") for each in answers.ids]
        assert [each.status for each in records] == [status] * 2, points.held_at
        assert is_stopped or [each.text for each in records] == ["ab"] * 2, points.held_at
        assert await answers.ends() == dict.fromkeys(answers.ids, 1), points.held_at
        assert (await answers.backend.queue.list_jobs(9)).total == 0, points.held_at
        if points.held_at is None:
            break
    assert n > 20
