"""Suspended answers: whatever is lost and whoever is faster, each goes on once and ends once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import partition_of, user_channel
from hub.core.durable import AskInput, Checkpoint, ResumePoint, Save, StreamOutput
from hub.core.generation import (
    Generation,
    GenerationRequest,
    Message,
    Status,
    new_generation_id,
)
from hub.core.generation_context import GenerationContext
from hub.core.inputs import INPUT_RECEIVED, InputRequest
from hub.core.parts import Finished, Part, Text
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt import OtherVersion
from hub.engine.attempts.attempt_events import RESTARTED, AttemptEvents
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generation_stream import END_EVENTS
from hub.engine.generations.generations import Generations
from hub.engine.generations.inputs import Inputs
from hub.engine.generations.reconciler import Reconciler, ReconcilerTimes
from hub.engine.tasks import cancel_and_wait
from hub.engine.worker.relay import Relay
from hub.engine.worker.worker import Worker
from hub.errors import CallerError, Conflict
from hub.ports.events import FROM_START, Outcome
from hub.ports.queue import Lease
from hub.testing.backend import MemoryBackend
from hub.testing.queue import MemoryGenerationQueue
from tests.doubles import RELAY_LIMITS, FakeClock, ScriptedUpstream, settled, until

ALICE = user_channel("alice")
REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
LEASE, INTERVAL = 15.0, 5.0
HOUR = 3600.0
LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=100_000, max_suspended=100)


class Case:
    """An answer, two nodes, and a worker whose steps the test takes. Time passes by `advance`."""

    def __init__(
        self, request: GenerationRequest = REQUEST, cancelling: Collection[str] = ()
    ) -> None:
        self.request = request
        self.passed = 0.0
        self.started_at = 1.7e9
        self.backend = MemoryBackend(now=lambda: self.started_at + self.passed)
        self.queue = self.backend.queue = MemoryGenerationQueue(
            None, lease_seconds=LEASE, now=lambda: time.monotonic() + self.passed
        )
        events, store = self.backend.events, self.backend.generations
        self.jobs = GenerationJobs(events, store, self.queue, cancelling=cancelling)
        self.nodes = [Inputs(events, store, self.queue, self.jobs) for _ in range(2)]
        self.generations = Generations(events, store, self.queue, jobs=self.jobs)
        self.reconciler = Reconciler(
            self.jobs,
            store,
            self.queue,
            FakeClock(),
            ReconcilerTimes(lease_seconds=LEASE, max_queued_seconds=1e9),
        )
        self.id = new_generation_id(partition_of(ALICE))
        self.lease: Lease | None = None
        self.attempt: AttemptEvents | None = None
        self.is_left_suspended = False  # by the worker, which still has the job
        self.cancellations = 0  # of what the upstream does for the answer
        self.keys: list[str] = []
        self.values: dict[str, Any] = {}

    async def start(self) -> None:
        record = Generation(self.id, "alice", self.request)
        await self.backend.generations.create(record, None)
        await self.jobs.add(record)

    async def record(self) -> Generation:
        record = await self.backend.generations.find(self.id)
        assert record is not None
        return record

    async def names(self) -> list[str]:
        pages = await self.backend.events.read(
            {ALICE: FROM_START}, max_events=1000, max_bytes=10**7
        )
        return [event.name for event in pages[ALICE].events]

    # The worker.

    async def take(self) -> None:
        """Take the job, if there is one, and begin an attempt unless there is nothing to do."""
        if self.lease is not None and self.is_left_suspended:
            await self.complete()
            return
        if self.lease is None:
            self.lease = await self.queue.reserve(0)
        if self.lease is None or self.attempt is not None:
            return
        record = await self.record()
        self.is_left_suspended = record.status is Status.SUSPENDED
        if record.status.ended and record.suspended is not None:
            self.cancellations += 1
        if record.status.ended or self.is_left_suspended:
            await self.complete()
            return
        attempt = AttemptEvents(record, LIMITS, version="v1")
        outcomes = await self.backend.events.publish(attempt.begin_after(record, RESTARTED))
        assert {each.outcome for each in outcomes} == {Outcome.WRITTEN}
        if outcomes[-1].stop_requested_by is not None:
            await self.backend.events.publish([attempt.end(Status.STOPPED, {"by": "alice"})])
            await self.complete()
        else:
            self.attempt = attempt

    async def suspend(self) -> None:
        """Let the function suspend the answer; the job is still there."""
        if self.attempt is None:
            return
        key = f"k{len(self.keys)}"
        request = InputRequest(
            input=key, prompt="?", expires_at=self.started_at + self.passed + HOUR
        )
        ask = AskInput(request, Save(msgspec.Raw(b"1")))
        (published,) = await self.backend.events.publish(self.attempt.command(ask, None))
        self.attempt = None
        self.is_left_suspended = True
        if published.outcome is Outcome.WRITTEN:
            self.keys.append(key)

    async def finish(self) -> None:
        """Let the function end the answer, if it runs."""
        if self.attempt is not None:
            await self.backend.events.publish([self.attempt.end(Status.DONE, {})])
            self.attempt = None
            await self.complete()

    async def complete(self) -> None:
        """Do what a worker does at the end."""
        if self.lease is not None and self.attempt is None:
            await self.queue.complete(self.lease)
            self.lease = None
            await self.jobs.check_released(self.id, was_suspended=self.is_left_suspended)

    async def complete_and_die(self) -> None:
        """The worker is lost before it looks whether the value has come."""
        if self.lease is not None and self.attempt is None:
            await self.queue.complete(self.lease)
            self.lease = None

    async def die(self) -> None:
        """The worker is lost; its lease ends."""
        self.lease = self.attempt = None
        self.passed += LEASE + 1

    # Users and nodes.

    async def answer(self, values: Sequence[str] = ("x", "y")) -> None:
        """Two users give the newest value at once, through two nodes."""
        if not self.keys:
            return
        key = self.keys[-1]
        results = await asyncio.gather(
            *(
                node.answer(self.id, key, value, "alice")
                for node, value in zip(self.nodes, values, strict=True)
            ),
            return_exceptions=True,
        )
        counted = {each.fields["value"] for each in results if not isinstance(each, BaseException)}
        assert all(isinstance(each, CallerError) for each in results if isinstance(each, Exception))
        assert len(counted) <= 1
        for value in counted:
            assert self.values.setdefault(key, value) == value

    async def answer_and_die(self) -> None:
        """The node is lost after it has stored the value."""
        requeue, self.queue.requeue = self.queue.requeue, _lose  # type: ignore[method-assign]
        try:
            await self.answer()
        finally:
            self.queue.requeue = requeue  # type: ignore[method-assign]

    async def stop(self) -> None:
        await self.generations.stop(self.id, "alice")

    async def reconcile(self) -> None:
        self.passed += INTERVAL + 0.1
        if self.lease is not None:
            await self.queue.renew([self.lease])
        await self.reconciler.check()


async def _lose(job: Any) -> None:
    pass


STEPS = st.sampled_from(
    [
        Case.take,
        Case.take,
        Case.suspend,
        Case.suspend,
        Case.complete,
        Case.complete,
        Case.complete_and_die,
        Case.die,
        Case.answer,
        Case.answer,
        Case.answer_and_die,
        Case.reconcile,
    ]
)


@given(
    st.lists(STEPS, max_size=40),
    st.sampled_from(["finish", "stop", "suspend and stop", "deadline"]),
)
async def test_each_answer_goes_on_once_and_ends_once(steps: list[Any], end: str) -> None:
    """Whatever is lost in between: one value of each input counts, and nothing is left over."""
    case = Case(cancelling=["main"])
    await case.start()
    for step in steps:
        await step(case)
    if end == "suspend and stop":
        await case.take()
        await case.suspend()
    if end in ("stop", "suspend and stop"):
        await case.stop()
    elif end == "deadline":
        case.passed += HOUR + 1
    for _ in range(8):
        await case.take()
        await case.finish()
        await case.complete()
        await case.reconcile()
        await case.reconcile()
        if end == "finish":
            await case.answer()
    record = await case.record()
    assert record.status.ended, record.status
    names = await case.names()
    ends = [name for name in names if name in END_EVENTS]
    assert len(ends) == 1
    assert names[-1] == ends[0]
    assert bool(case.cancellations) == (record.suspended is not None)
    assert record.attempt >= record.suspensions
    received = {key: each.answer for key, each in record.inputs.items() if each.answer is not None}
    assert {
        key: answer.fields["value"] for key, answer in received.items() if not answer.is_expired
    } == case.values
    assert names.count(INPUT_RECEIVED) >= len(case.values)
    assert (await case.queue.list_jobs(9)).total == 0
    assert await case.queue.reserve(0) is None


async def suspended(cancelling: Collection[str] = ()) -> Case:
    case = Case(cancelling=cancelling)
    await case.start()
    await case.take()
    await case.suspend()
    return case


async def test_job_that_a_lost_worker_left() -> None:
    """The reconciler removes it, and the answer stays suspended for as long as it may."""
    case = await suspended()
    await case.die()
    for _ in range(3):
        await case.reconcile()
    assert (await case.queue.list_jobs(9)).total == 0
    for _ in range(20):
        case.passed += 170
        await case.reconcile()
    assert (await case.record()).status is Status.SUSPENDED


@pytest.mark.parametrize("is_released", [True, False])
async def test_deadline(is_released: bool) -> None:
    """A node ends the answer as `input_timeout`, and a value is refused from then on."""
    case = await suspended()
    await (case.complete() if is_released else case.die())
    case.passed += HOUR + 1
    await case.reconcile()
    record = await case.record()
    assert (record.status, record.end["code"]) == (Status.FAILED, "input_timeout")
    assert record.parts[-1]["state"] == "expired"
    with pytest.raises(Conflict) as refused:
        await case.nodes[0].answer(case.id, "k0", 1, "alice")
    assert refused.value.code == "input_expired"


async def test_value_after_the_deadline_ends_the_answer() -> None:
    """The node that refuses it need not wait for the reconciler."""
    case = await suspended()
    await case.complete()
    case.passed += HOUR + 1
    with pytest.raises(Conflict):
        await case.nodes[0].answer(case.id, "k0", 1, "alice")
    assert (await case.record()).end["code"] == "input_timeout"


async def test_value_whose_job_was_lost() -> None:
    """The reconciler adds the job, and so does the same value again."""
    for is_repeated in (True, False):
        case = await suspended()
        await case.complete()
        await case.answer_and_die()
        assert (await case.record()).status is Status.QUEUED
        assert (await case.queue.list_jobs(9)).total == 0
        if is_repeated:
            await case.answer()
        else:
            await case.reconcile()
        assert (await case.queue.list_jobs(9)).total == 1


@pytest.mark.parametrize("is_pinned", [True, False])
async def test_version_policy(is_pinned: bool) -> None:
    """A pinned answer goes on only on workers of the version that suspended it."""
    case = await suspended()
    await case.complete()
    await case.answer()
    upstreams = {"main": ScriptedUpstream([Text("a"), Finished("stop")])}
    relay = Relay(
        case.backend.events,
        case.backend.generations,
        upstreams,
        FakeClock(),
        RELAY_LIMITS,
        version="v2",
        pinned=["main"] if is_pinned else [],
    )
    lease = await case.queue.reserve(0)
    assert lease is not None
    if is_pinned:
        with pytest.raises(OtherVersion) as refused:
            await relay.run(lease, StopSignal())
        assert refused.value.version == "v1"
    else:
        assert await relay.run(lease, StopSignal()) is not None


async def test_answer_of_an_external_producer_that_has_its_value() -> None:
    """Its process begins the next attempt itself, and has time for it until the deadline."""
    external = msgspec.structs.replace(REQUEST, producer="external")
    case = Case(external)
    await case.start()
    await case.take()
    await case.suspend()
    await case.complete()
    await case.answer()
    for _ in range(3):
        await case.reconcile()
    assert (await case.record()).status is Status.QUEUED
    assert (await case.queue.list_jobs(9)).total == 0
    case.passed += HOUR + 1
    await case.reconcile()
    assert (await case.record()).end["code"] == "producer_lost"


async def test_stop_while_suspended() -> None:
    """The node that gets the stop ends the answer at once, without a worker."""
    case = await suspended()
    await case.complete()
    await case.stop()
    assert (await case.record()).status is Status.STOPPED


class Task:
    """Implements ports.upstreams.ResumableUpstream: a task that was asked for, and waits."""

    def __init__(self) -> None:
        self.canceled: list[bytes] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        raise AssertionError("nobody asks for it again")
        yield []

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        raise AssertionError("nobody asks for it again")
        yield []

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        self.canceled.append(checkpoint.value)


class SuspendingTask(Task):
    """A task that asks for a value at once."""

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        input_request = InputRequest(input="k", prompt="?", expires_at=time.time() + HOUR)
        yield [AskInput(input_request, Save(msgspec.Raw(b"1")))]


@pytest.mark.parametrize("step", ["confirms", "completes"])
async def test_stop_before_the_job_of_a_suspended_answer_is_removed(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node cannot add a job meanwhile; the task is canceled once nevertheless."""
    case, task = Case(cancelling=["main"]), SuspendingTask()
    events, store = case.backend.events, case.backend.generations
    is_stopped = False

    def stop_before(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stop_and_call(*arguments: Any) -> Any:
            nonlocal is_stopped
            if store.records[case.id].status is Status.SUSPENDED and not is_stopped:
                is_stopped = True
                await case.stop()
                assert (await case.record()).status is Status.STOPPED
            return await call(*arguments)

        return stop_and_call

    if step == "confirms":
        monkeypatch.setattr(store, "find", stop_before(store.find))
    else:
        monkeypatch.setattr(case.queue, "complete", stop_before(case.queue.complete))
    worker = Worker(
        case.queue,
        store,
        Relay(events, store, {"main": task}, FakeClock(), RELAY_LIMITS),
        FakeClock(),
        concurrency=1,
        lease_seconds=LEASE,
        on_released=case.jobs.check_released,
    )
    await case.start()
    fetching = asyncio.create_task(worker.run_fetch())
    await until(lambda: bool(task.canceled))
    await settled()
    await cancel_and_wait([fetching])
    assert task.canceled == [b"1"]
    assert (await case.queue.list_jobs(9)).total == 0


@pytest.mark.parametrize("end", ["stop", "deadline"])
async def test_task_of_an_answer_that_ends_while_suspended(end: str) -> None:
    """The node ends the answer, and a worker cancels its task once."""
    case, task = await suspended(cancelling=["main"]), Task()
    await case.complete()
    if end == "stop":
        await case.stop()
    else:
        case.passed += HOUR + 1
        await case.reconcile()
    assert (await case.record()).status.ended
    relay = Relay(
        case.backend.events, case.backend.generations, {"main": task}, FakeClock(), RELAY_LIMITS
    )
    lease = await case.queue.reserve(0)
    assert lease is not None
    assert await relay.run(lease, StopSignal()) is None
    await case.queue.complete(lease)
    assert task.canceled == [b"1"]
    assert await case.queue.reserve(0) is None


async def test_value_of_an_earlier_input_that_is_given_again() -> None:
    """It does not end the answer, which waits for another input."""
    case = Case()
    await case.start()
    await case.take()
    assert case.attempt is not None
    earlier = InputRequest(input="earlier", prompt="?", expires_at=case.started_at + HOUR)
    await case.backend.events.publish(case.attempt.command(AskInput(earlier), None))
    for node in case.nodes:
        await node.answer(case.id, "earlier", 1, "alice")
    await case.suspend()
    await case.complete()
    for node in case.nodes:
        await node.answer(case.id, "earlier", 1, "alice")
    assert (await case.record()).status is Status.SUSPENDED


@pytest.mark.parametrize(("has_point", "end"), [(True, "stop"), (False, "stop"), (True, "lost")])
async def test_answer_in_the_background_whose_worker_was_lost(has_point: bool, end: str) -> None:
    """A stop reaches the upstream once, by the next worker, if the upstream has an answer."""
    case, task = Case(cancelling=["main"]), Task()
    await case.start()
    await case.take()
    assert case.attempt is not None
    if has_point:
        saved = case.attempt.resume_point(ResumePoint(7), None, [])
        await case.backend.events.publish([*saved, *case.attempt.flush()])
    await case.die()
    if end == "stop":
        await case.stop()
    else:
        await case.jobs.end(await case.record(), Status.FAILED, {"code": "queue_timeout"})
    for _ in range(3):
        await case.reconcile()
    assert (await case.record()).status.ended
    relay = Relay(
        case.backend.events, case.backend.generations, {"main": task}, FakeClock(), RELAY_LIMITS
    )
    while (lease := await case.queue.reserve(0)) is not None:
        assert await relay.run(lease, StopSignal()) is None
        await case.queue.complete(lease)
    assert task.canceled == ([b"7"] if has_point and end == "stop" else [])
