"""A worker whose functions block: leases and stops do not depend on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.core.generation import Generation, GenerationRequest, Message, Status
from hub.core.parts import Finished, Text
from hub.engine.generations.generations import Generations
from hub.engine.tasks import Supervisor, SystemClock
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.ports.upstreams import Upstream
from hub.testing.backend import MemoryBackend
from hub.testing.queue import MemoryGenerationQueue
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream
from tests.upstreams.test_function import functions

LEASE_SECONDS = 9.0
NAMES = ["blocks_until", "blocks_its_thread_until", "waits_until"]


class BlockedWorker:
    """A worker whose leases last by a clock that the test moves. file: functions wait for it."""

    def __init__(self, file: Path, backend: MemoryBackend, clock: FakeClock) -> None:
        self.file = file
        self.clock = clock
        self.queue = backend.queue
        self._generations = Generations(backend.events, backend.generations, backend.queue)

    async def start(self, upstream: str) -> str:
        metadata = {"file": str(self.file)}
        request = GenerationRequest([Message("user", "x")], upstream, "m", metadata=metadata)
        return (await self._generations.start("alice", request)).generation

    async def stop(self, generation: str) -> None:
        await self._generations.stop(generation, "alice")

    async def find(self, generation: str) -> Generation:
        return await self._generations.find(generation, "alice")

    async def wait(self, generation: str, *, text: str, status: Status) -> Generation:
        async with asyncio.timeout(60):
            while True:
                record = await self.find(generation)
                if (record.text, record.status) == (text, status):
                    return record
                await asyncio.sleep(0.005)


@asynccontextmanager
async def worker(file: Path, upstream: Upstream) -> AsyncIterator[BlockedWorker]:
    clock = FakeClock()
    backend = MemoryBackend()
    backend.queue = MemoryGenerationQueue(lease_seconds=LEASE_SECONDS, now=clock.now)
    async with (
        functions(NAMES, stop_timeout_seconds=0.05) as case,
        Supervisor(SystemClock()) as tasks,
    ):
        relay = Relay(
            backend.events,
            backend.generations,
            {"llm": upstream},
            clock,
            RELAY_LIMITS,
            functions={name: case.function(name) for name in NAMES},
        )
        worker = Worker(
            backend.queue,
            backend.generations,
            relay,
            clock,
            concurrency=3,
            lease_seconds=LEASE_SECONDS,
        )
        tasks.start("fetch", worker.run_fetch)
        tasks.start("notices", worker.run_notices)
        tasks.start("leases", worker.run_leases)
        try:
            yield BlockedWorker(file, backend, clock)
        finally:
            await asyncio.to_thread(file.touch)


async def test_blocked_process_costs_no_lease(tmp_path: Path) -> None:
    """While a function blocks its process for three leases, its worker keeps all of its runs."""
    gate = Gate()
    gate.close()
    upstream = ScriptedUpstream([Text("a"), gate, Text("b"), Finished("stop")])
    async with worker(tmp_path / "go on", upstream) as case:
        ids = [await case.start(name) for name in ("waits_until", "llm", "blocks_until")]
        for each in ids:
            await case.wait(each, text="a", status=Status.RUNNING)
        for _ in range(10):
            await case.clock.advance(LEASE_SECONDS / 3)
            assert await case.queue.reserve(0) is None, "another worker could take a run over"
        await asyncio.to_thread(case.file.touch)
        gate.open()
        for each in ids:
            record = await case.wait(each, text="ab", status=Status.DONE)
            assert record.attempt == 1


async def test_stop_does_not_wait_for_the_function(tmp_path: Path) -> None:
    """The answer ends while the function ignores the stop, or blocks its thread or its process."""
    async with worker(tmp_path / "go on", ScriptedUpstream([])) as case:
        for name in ("waits_until", "blocks_its_thread_until", "blocks_until"):
            generation = await case.start(name)
            await case.wait(generation, text="a", status=Status.RUNNING)
            await case.stop(generation)
            await case.wait(generation, text="a", status=Status.STOPPED)
            assert not case.file.exists(), "the function runs until there is one"
