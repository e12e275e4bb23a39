"""Random faults: whatever freezes or is lost, each generation ends once, with its whole text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.channel import user_channel
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    Replace,
    Text,
    ToolCallDelta,
)
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.ports.events import FROM_START
from hub.testing.backend import MemoryBackend
from hub.testing.queue import MemoryGenerationQueue
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, Replica, settled
from tests.properties import limit_examples

ALICE = user_channel("alice")
REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
CALL = {
    "index": 0,
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
}
PARTS: list[Part] = [
    Text("draft"),
    Reasoning("hm"),
    Replace("Hel"),
    ToolCallDelta([CALL]),
    Text("lo"),
    Finished("stop"),
]
ENDS = {"generation.done", "generation.stopped", "generation.failed"}
LEASE = 15.0


class Freezable:
    """A part of the backend as one process sees it. While the process is frozen, no call ends."""

    def __init__(self, part: Any, gate: Gate) -> None:
        self._part = part
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if name == "notices":
            return method

        async def call(*arguments: Any) -> Any:
            await self._gate.passed()
            result = await method(*arguments)
            await self._gate.passed()
            return result

        return call


class PacedUpstream:
    """Sends each part of its answers when a test allows one more part."""

    def __init__(self) -> None:
        self.allowed = asyncio.Semaphore(0)
        self.is_open = False

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        for part in PARTS:
            if not self.is_open:
                await self.allowed.acquire()
            yield [part]


class World:
    """Two workers, a reconciler, and the faults that can happen to them."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.backend = MemoryBackend(now=lambda: 1.7e9 + self.passed)
        self.backend.queue = MemoryGenerationQueue(
            lease_seconds=LEASE, now=lambda: time.monotonic() + self.passed
        )
        backend = self.backend
        self.clock = FakeClock()
        self.upstream = PacedUpstream()
        self.generations = Generations(backend.events, backend.generations, backend.queue)
        self.gates = [Gate(), Gate()]
        self.replica = Replica(backend)
        self.started: list[str] = []
        self.stopped: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.reconciler = Reconciler(
            GenerationJobs(backend.events, backend.generations, backend.queue),
            backend.generations,
            backend.queue,
            self.clock,
            ReconcilerTimes(lease_seconds=LEASE, max_queued_seconds=1e9),
        )
        for gate in self.gates:
            self._start_worker(gate)

    def _start_worker(self, gate: Gate) -> None:
        backend = self.backend
        queue: Any = Freezable(backend.queue, gate)
        store: Any = Freezable(backend.generations, gate)
        events: Any = Freezable(backend.events, gate)
        limits = msgspec.structs.replace(RELAY_LIMITS, max_attempts=1000)
        relay = Relay(events, store, {"main": self.upstream}, self.clock, limits)
        worker = Worker(queue, store, relay, self.clock, concurrency=9, lease_seconds=LEASE)
        for run in (worker.run_fetch, worker.run_leases, worker.run_notices):
            self.tasks.append(asyncio.create_task(run()))

    async def step(self, what: str, n: int) -> None:
        match what:
            case "start":
                self.started.append((await self.generations.start("alice", REQUEST)).generation)
            case "stop" if self.started:
                generation = self.started[n % len(self.started)]
                if generation in self.backend.generations.records:
                    self.stopped.add(generation)
                    await self.generations.stop(generation, "alice")
            case "freeze":
                self.gates[n % 2].close()
            case "continue":
                self.gates[n % 2].open()
            case "tokens":
                for _ in range(n % 4):
                    self.upstream.allowed.release()
                await settled()
            case "replicate":
                self.replica = Replica(self.backend)
            case "promote":
                self.replica.promote(records=n % 3 != 1, queue=n % 3 != 0)
            case "pass":
                await self.advance(n)
            case _:
                pass
        for _ in range(n):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        self.passed += seconds
        self.backend.queue._job_added.set()  # whoever waits looks at the new time
        await self.clock.advance(seconds)
        await self.reconciler.check()

    async def recover(self) -> None:
        """End all faults, and wait until every generation has ended."""
        for gate in self.gates:
            gate.open()
        self.upstream.is_open = True
        for _ in range(1000):
            self.upstream.allowed.release()
        for _ in range(40):
            await settled()
            if all(record.status.ended for record in self.backend.generations.records.values()):
                return
            await asyncio.sleep(0)
            await self.advance(LEASE / 3 + 0.1)
        records = self.backend.generations.records.values()
        raise AssertionError(f"still open: {[r for r in records if not r.status.ended]}")

    async def check(self) -> None:
        """Each record has one end event, and the text and parts of the last attempt are whole."""
        pages = await self.backend.events.read({ALICE: FROM_START}, max_events=999, max_bytes=10**7)
        events = [(event.name, json.loads(event.data)) for event in pages[ALICE].events]
        for generation in self.started:  # also those whose records were lost
            names = [name for name, data in events if data["generation"] == generation]
            assert sum(name in ENDS for name in names) <= 1
        for generation, record in self.backend.generations.records.items():
            own = [(name, data) for name, data in events if data["generation"] == generation]
            assert sum(name in ENDS for name, _ in own) == 1, own
            assert own[-1][0] == f"generation.{record.status.value}"
            if generation not in self.stopped:
                assert own[-1][0] == "generation.done", own
            first = max(
                (n for n, (name, _) in enumerate(own) if name.endswith("started")), default=0
            )
            text, reasoning, calls, n = "", "", [], 0
            for name, data in own[first:-1]:
                if "i" in data:
                    assert data["i"] == n, own
                    n += 1
                text = data["text"] if name.endswith("replaced") else text + data.get("text", "")
                reasoning += data.get("reasoning", "")
                calls += data.get("tool_calls", [])
            assert text == record.text
            assert own[-1][1]["deltas"] == record.deltas == n
            if own[-1][0] == "generation.done":
                assert (text, reasoning, calls) == ("Hello", "hm", [CALL])

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


STEPS = st.tuples(
    st.sampled_from(
        ["start", "freeze", "continue", "tokens", "tokens", "replicate", "promote", "pass", "stop"]
    ),
    st.integers(0, 30),
)


@settings(max_examples=limit_examples(80))
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_random_faults(steps: list[tuple[str, int]]) -> None:
    """No freeze, lost lease, fail-over or stop leaves a generation open or damaged."""

    async def run() -> None:
        world = World()
        try:
            await world.step("start", 0)
            for what, n in steps:
                await world.step(what, n)
            await world.recover()
            await world.check()
        finally:
            await world.end()

    asyncio.run(run())
