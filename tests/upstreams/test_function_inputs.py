"""Inputs of functions in processes of their own, answered through another node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hub.core.channel import user_channel
from hub.core.generation import Generation, GenerationRequest, Message, Status
from hub.engine.functions.function import ApplicationFunction
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.generations.inputs import Inputs
from hub.engine.tasks import Supervisor, SystemClock
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.ports.events import FROM_START
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock
from tests.upstreams import input_app
from tests.upstreams.test_function import Functions, functions

NAMES = list(input_app.app.producers)
TARGET = "tests.upstreams.input_app:app"


class InputCase:
    """A worker with the functions, and a node."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.jobs = GenerationJobs(backend.events, backend.generations, backend.queue)
        self._generations = Generations(backend.events, backend.generations, backend.queue)
        self._inputs = Inputs(backend.events, backend.generations, backend.queue, self.jobs)
        self.id = ""
        self.worker: Worker

    async def start(self, upstream: str) -> None:
        request = GenerationRequest([Message("user", "x")], upstream, "m")
        self.id = (await self._generations.start("alice", request)).generation

    async def answer(self, value: str, by: str = "alice") -> None:
        await self._inputs.answer(self.id, "refund", value, by)

    async def stop(self) -> None:
        await self._generations.stop(self.id, "alice")

    async def record(self) -> Generation:
        record = await self.backend.generations.find(self.id)
        assert record is not None
        return record

    async def until(self, condition: Callable[[Generation], bool]) -> Generation:
        async with asyncio.timeout(60):
            while not condition(record := await self.record()):
                await asyncio.sleep(0.002)
        return record

    async def waiting(self) -> Generation:
        return await self.until(lambda record: record.status is Status.WAITING)

    async def ended(self) -> Generation:
        return await self.until(lambda record: record.status.ended)

    async def released(self) -> None:
        """Return when nothing of the answer runs any more."""
        async with asyncio.timeout(60):
            while (await self.backend.queue.list_jobs(9)).total or len(self.worker):
                await asyncio.sleep(0.002)

    async def names_in_channel(self, user: str) -> list[str]:
        channel = user_channel(user)
        pages = await self.backend.events.read(
            {channel: FROM_START}, max_events=99, max_bytes=10**6
        )
        return [event.name for event in pages[channel].events]


@asynccontextmanager
async def worker(running: Functions) -> AsyncIterator[InputCase]:
    backend = MemoryBackend()
    case = InputCase(backend)
    pending = PendingInputs(backend.events, backend.generations, check_seconds=60.0)
    relay = Relay(
        backend.events,
        backend.generations,
        {},
        FakeClock(),
        RELAY_LIMITS,
        functions={name: ApplicationFunction(name, running.pool, pending) for name in NAMES},
    )
    worker = Worker(
        backend.queue,
        backend.generations,
        relay,
        FakeClock(),
        concurrency=3,
        lease_seconds=60.0,
        on_notice=pending.notify,
        on_released=case.jobs.check_released,
        on_result=lambda result: case.jobs.go_on_after(result.generation),
    )
    async with Supervisor(SystemClock()) as tasks:
        tasks.start("fetch", worker.run_fetch)
        tasks.start("notices", worker.run_notices)
        case.worker = worker
        yield case


async def check_that_an_approver_answers(processes: Functions, name: str) -> None:
    """The function gets the value; the approver has the request and the end in the own channel."""
    async with worker(processes) as case:
        await case.start(name)
        await case.waiting()
        async with asyncio.timeout(60):
            while not await case.names_in_channel("bob"):
                await asyncio.sleep(0.002)
        await case.answer("yes", by="bob")
        record = await case.ended()
        assert (record.status, record.text, record.attempt) == (Status.DONE, "a yes", 1)
        assert [each["by"] for each in record.parts if each["type"] == "input"] == ["bob"]
        assert await case.names_in_channel("bob") == [
            "generation.input_requested",
            "generation.input_received",
        ]


async def check_that_approvers_learn_of_the_end(case: InputCase) -> None:
    async with asyncio.timeout(60):
        while len(names := await case.names_in_channel("bob")) < 2:
            await asyncio.sleep(0.002)
    assert names == ["generation.input_requested", "generation.input_expired"]


async def check_a_stop_while_the_function_waits(processes: Functions, name: str) -> None:
    """The answer ends at once, the input is cancelled, and its approvers learn of it."""
    async with worker(processes) as case:
        await case.start(name)
        await case.waiting()
        async with asyncio.timeout(60):
            while not await case.names_in_channel("bob"):
                await asyncio.sleep(0.002)
        await case.stop()
        await check_that_approvers_learn_of_the_end(case)
        record = await case.ended()
        assert (record.status, record.text) == (Status.STOPPED, "a")
        assert record.parts[-1]["state"] == "cancelled"


async def check_that_waiting_is_no_running_time(processes: Functions) -> None:
    """The function waits for longer than its timeout_seconds."""
    async with worker(processes) as case:
        await case.start("asks_longer_than_it_may_run")
        await case.waiting()
        await asyncio.sleep(2.5)  # longer than the timeout, which a busy machine keeps
        await case.answer("yes")
        record = await case.ended()
        assert (record.status, record.text) == (Status.DONE, "a yes")


async def check_that_there_is_no_answer(processes: Functions) -> None:
    """The worker lets the input expire, and the function goes on."""
    async with worker(processes) as case:
        await case.start("asks_too_late")
        record = await case.ended()
        assert (record.status, record.text) == (Status.DONE, "input_timeout")
        assert record.parts[0]["state"] == "expired"


async def check_that_the_function_waits_no_longer(processes: Functions) -> None:
    """A function may give up waiting; the input is cancelled when the answer ends."""
    async with worker(processes) as case:
        await case.start("waits_no_longer")
        record = await case.ended()
        assert (record.status, record.text) == (Status.DONE, "gone on")
        assert record.parts[0]["state"] == "cancelled"


async def check_a_suspension(processes: Functions) -> None:
    """It holds no job, no process and no place on the worker; the value begins the next attempt."""
    async with worker(processes) as case:
        await case.start("suspends")
        await case.until(lambda record: record.status is Status.SUSPENDED)
        await case.released()
        assert await case.names_in_channel("bob") == ["generation.input_requested"]
        await case.answer("yes", by="bob")
        record = await case.ended()
        assert (record.status, record.text) == (Status.DONE, "a yes saved")
        assert (record.attempt, record.suspensions) == (2, 1)


async def check_a_stop_while_suspended(processes: Functions) -> None:
    """The node ends the answer itself: no worker has it."""
    async with worker(processes) as case:
        await case.start("suspends")
        await case.until(lambda record: record.status is Status.SUSPENDED)
        await case.released()
        await case.stop()
        await check_that_approvers_learn_of_the_end(case)
        record = await case.record()
        assert (record.status, record.text) == (Status.STOPPED, "a")
        assert record.parts[-1]["state"] == "cancelled"


async def test_inputs_of_functions() -> None:
    """One process serves all cases, as that of a worker does."""
    async with functions(NAMES, target=TARGET) as processes:
        for name in ("asks_for_input", "asks_for_input_in_a_thread"):
            await check_that_an_approver_answers(processes, name)
            await check_a_stop_while_the_function_waits(processes, name)
        await check_that_waiting_is_no_running_time(processes)
        await check_that_there_is_no_answer(processes)
        await check_that_the_function_waits_no_longer(processes)
        await check_a_suspension(processes)
        await check_a_stop_while_suspended(processes)
