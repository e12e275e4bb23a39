"""Stopping the answers of a user whose data is erased."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.user_data import AnswerStopper
from hub.errors import Conflict
from hub.ports.events import Outcome
from hub.testing.backend import MemoryBackend
from hub.testing.contracts.generations import REQUEST
from hub.testing.contracts.node import Node
from hub.testing.fakes import FakeClock


class Stopping:
    """An answer that a worker streams which does not react, and what stops it."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.node = Node(self.backend)
        self.clock = MovingClock()
        jobs = GenerationJobs(self.backend.events, self.backend.generations, self.backend.queue)
        self.generations = Generations(
            self.backend.events, self.backend.generations, self.backend.queue, jobs=jobs
        )
        self.stopper = AnswerStopper(
            self.generations, self.backend.generations, jobs, self.backend.queue, self.clock
        )

    async def begin(self) -> str:
        created = await self.generations.start("alice", REQUEST, None)
        await self.backend.queue.reserve(0)
        assert await self.update(created.generation, UpdateKind.BEGIN) is Outcome.WRITTEN
        return created.generation

    async def update(self, generation: str, kind: UpdateKind, **more: Any) -> Outcome:
        update = GenerationUpdate(generation, 1, kind, **more)
        return (await self.node.publish('{"by":"x"}', update=update))[0]

    async def status(self, generation: str) -> Status:
        record = await self.backend.generations.find(generation)
        assert record is not None
        return record.status


class MovingClock(FakeClock):
    """A clock on which nobody waits: time passes in the sleep."""

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


async def test_answer_of_a_lost_worker_is_ended_by_the_node() -> None:
    """The worker gets ten seconds; what it publishes afterwards is refused."""
    stopping = Stopping()
    generation = await stopping.begin()
    await stopping.stopper.stop_all("alice")
    assert 1010 < stopping.clock.now() < 1012
    assert await stopping.status(generation) is Status.STOPPED
    late = await stopping.update(generation, UpdateKind.DELTA, entries=b'{"t":"x"}')
    assert late is Outcome.ENDED


async def test_answers_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever, and nothing is erased."""
    stopping = Stopping()
    generation = await stopping.begin()

    async def refuse(*_: Any) -> bool:
        return False

    monkeypatch.setattr(GenerationJobs, "end", refuse)
    with pytest.raises(Conflict) as caught:
        await stopping.stopper.stop_all("alice")
    assert caught.value.code == "answers_not_ended"
    assert await stopping.status(generation) is Status.STOPPING
