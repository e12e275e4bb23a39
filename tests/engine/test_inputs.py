"""Inputs of answers whose node or worker fails between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.durable import AskInput, Save
from hub.core.generation import (
    Generation,
    GenerationRequest,
    Message,
    Status,
    new_generation_id,
)
from hub.core.inputs import INPUT_EXPIRED, INPUT_RECEIVED, InputRequest
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt_events import STARTED, AttemptEvents
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.inputs import Inputs
from hub.errors import BrokerUnavailable
from hub.ports.events import FROM_START, Publication, Published
from hub.testing.backend import MemoryBackend
from tests.doubles import settled, until

ALICE, BOB = user_channel("alice"), user_channel("bob")
EXPIRES_AT = 2e9
LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=100_000, max_suspended=100)


class InputTest:
    """An answer of Alice's that asks for the input `k`; Bob may answer as well.

    now: Unix time in seconds. fails_for_approvers: whether the broker is away when the approvers
    get an event.
    """

    def __init__(self) -> None:
        self.now = EXPIRES_AT - 60
        self.fails_for_approvers = False
        self.publishes = 0
        self.backend = MemoryBackend(now=lambda: self.now)
        events, store, queue = self.backend.events, self.backend.generations, self.backend.queue
        self._publish = events.publish
        events.publish = self.publish  # type: ignore[method-assign]
        self.jobs = GenerationJobs(events, store, queue)
        self.inputs = Inputs(events, store, queue, self.jobs)
        self.pending = PendingInputs(events, store, check_seconds=60.0, now=lambda: self.now)
        self.record = Generation(
            new_generation_id(partition_of(ALICE)),
            "alice",
            GenerationRequest([Message("user", "hi")], upstream="main", model="m"),
        )
        self.attempt: AttemptEvents

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        self.publishes += 1
        assert self.publishes < 20, "the broker is flooded"
        if self.fails_for_approvers and any(each.channel == BOB for each in publications):
            raise BrokerUnavailable("the broker is away")
        return await self._publish(publications)

    async def start(self, *, suspends: bool = False) -> None:
        await self.backend.generations.create(self.record, None)
        self.attempt = AttemptEvents(self.record, LIMITS)
        request = InputRequest(input="k", prompt="?", expires_at=EXPIRES_AT, approvers=["bob"])
        save = Save(msgspec.Raw(b"1")) if suspends else None
        begin = self.attempt.begin_after(self.record, STARTED)
        await self._publish([*begin, *self.attempt.command(AskInput(request, save), None)])

    async def read(self) -> Generation:
        record = await self.backend.generations.find(self.record.id)
        assert record is not None
        return record

    async def names_of_approver(self) -> list[str]:
        pages = await self.backend.events.read({BOB: FROM_START}, max_events=9, max_bytes=10**6)
        return [event.name for event in pages[BOB].events]


async def test_repeated_value_reaches_the_approvers() -> None:
    """A user repeats the value after an error, and the approvers get the event that was missing."""
    case = InputTest()
    await case.start()
    case.fails_for_approvers = True
    with pytest.raises(BrokerUnavailable):
        await case.inputs.answer(case.record.id, "k", "yes", "alice")
    case.fails_for_approvers = False
    for _ in range(2):
        await case.inputs.answer(case.record.id, "k", "yes", "alice")
    assert await case.names_of_approver() == [INPUT_RECEIVED]


async def test_worker_shows_the_value_to_the_approvers() -> None:
    """The node that took the value has died before they got it."""
    case = InputTest()
    await case.start()
    case.fails_for_approvers = True
    with pytest.raises(BrokerUnavailable):
        await case.inputs.answer(case.record.id, "k", "yes", "alice")
    case.fails_for_approvers = False
    answer = await case.pending.wait(await case.read(), "k")
    assert answer.fields["value"] == "yes"
    assert await case.names_of_approver() == [INPUT_RECEIVED]


async def test_end_of_a_suspended_answer_shows_the_expiry_to_the_approvers() -> None:
    """Whoever ended the input has died before they got it."""
    case = InputTest()
    await case.start(suspends=True)
    case.now, case.fails_for_approvers = EXPIRES_AT, True
    with pytest.raises(BrokerUnavailable):
        await case.jobs.end_unanswered(await case.read())
    case.fails_for_approvers = False
    assert await case.jobs.end_unanswered(await case.read())
    assert await case.names_of_approver() == [INPUT_EXPIRED]


async def test_refused_expiry_is_not_repeated_at_once() -> None:
    """A worker that has lost its answer does not flood the broker while it waits for an input."""
    case = InputTest()
    await case.start()
    record = await case.read()
    await case._publish([case.attempt.end(Status.FAILED, fields())])
    case.now = EXPIRES_AT
    waiting = asyncio.create_task(case.pending.wait(record, "k"))
    await until(lambda: case.publishes > 0)
    await settled()
    assert case.publishes <= 2  # the request to the approvers, and the expiry
    assert not waiting.done()
    waiting.cancel()


def fields() -> dict[str, Any]:
    return {"code": "x", "message": "x", "retryable": False}
