"""The relay: every generation has one start, deltas from 0, and exactly one end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.durable import DurableState
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.core.generation_context import GenerationContext
from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt import AttemptSuperseded, GenerationResult
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.worker.relay import Relay
from hub.engine.worker.text_guard import TextGuard
from hub.errors import ProducerLost, UpstreamError
from hub.ports.events import FROM_START, Publication
from hub.ports.queue import Lease
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, Replica, ScriptedUpstream, settled, until

ALICE = user_channel("alice")
ANSWER: list[Part] = [
    Text("Hel"),
    Text("lo"),
    Usage({"completion_tokens": 2}),
    Finished("stop"),
]
FAILURE = UpstreamError("upstream_error", "it broke", retryable=True)
BEGINS = {"generation.started", "generation.restarted"}
ENDS = {"generation.done", "generation.stopped", "generation.failed"}


class ScriptedFunction:
    """Implements ports.functions.Function; each call takes the next script of a list.

    The last script is for all further calls. `attempts` holds the numbers of the attempts.
    """

    def __init__(self, scripts: Sequence[Any], retries: int) -> None:
        self._scripts = list(scripts)
        self.retries = retries
        self.attempts: list[int] = []

    async def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.attempts.append(attempt)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        async with aclosing(ScriptedUpstream(script).stream(record.request)) as stream:
            async for parts in stream:
                yield parts


class RelayTest:
    """A relay with a backend in memory, and one generation of the user alice.

    retries: those of a function with the script; None for an LLM endpoint. guard: checks the
    answer.
    """

    def __init__(
        self,
        *script: Any,
        retries: int | None = None,
        guard: TextGuard | None = None,
        **limits: Any,
    ) -> None:
        self.age_seconds = 0.0
        self.backend = MemoryBackend(now=lambda: 1.7e9 + self.age_seconds)
        self.clock = FakeClock()
        self.upstream = ScriptedUpstream(script)
        self.function = ScriptedFunction(script, retries or 0)
        self.relay = Relay(
            self.backend.events,
            self.backend.generations,
            {"main": self.upstream},
            self.clock,
            msgspec.structs.replace(RELAY_LIMITS, **limits),
            functions={} if retries is None else {"main": self.function},
            guards={} if guard is None else {"main": guard},
        )
        self.id = new_generation_id(partition_of(ALICE))
        self.stop = StopSignal()

    def lease(self, deliveries: int = 1) -> Lease:
        return Lease(self.id, "alice", "main", "1", deliveries=deliveries)

    async def queue(self, upstream: str = "main") -> None:
        request = GenerationRequest([Message("user", "hi")], upstream=upstream, model="m")
        await self.backend.generations.create(Generation(self.id, "alice", request), None)

    async def run(self) -> list[tuple[str, dict[str, Any]]]:
        await self.queue()
        await self.relay.run(self.lease(), self.stop)
        return await self.events()

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the published events without their generation id; check that an end is last."""
        pages = await self.backend.events.read(
            {ALICE: FROM_START}, max_events=1000, max_bytes=10**6
        )
        events = [(event.name, json.loads(event.data)) for event in pages[ALICE].events]
        assert all(data.pop("generation") == self.id for _, data in events)
        for name, data in events:
            assert ("seconds" in data) is (name in ENDS)
            data.pop("seconds", None)
        ends = [name for name, _ in events if name in ENDS]
        assert len(ends) <= 1
        assert not ends or events[-1][0] == ends[0]
        return events

    async def record(self) -> Generation:
        record = await self.backend.generations.find(self.id)
        assert record is not None
        return record


async def test_complete_answer() -> None:
    """The events are started, the deltas, and done with usage and finish reason."""
    case = RelayTest(*ANSWER)
    assert await case.run() == [
        ("generation.started", {"attempt": 1, "model": "m"}),
        ("generation.delta", {"i": 0, "text": "Hel"}),
        ("generation.delta", {"i": 1, "text": "lo"}),
        (
            "generation.done",
            {"finish_reason": "stop", "usage": {"completion_tokens": 2}, "deltas": 2},
        ),
    ]
    record = await case.record()
    assert (record.status, record.text, record.deltas) == (Status.DONE, "Hello", 2)


async def test_every_kind_of_part() -> None:
    """Reasoning and tool calls are deltas; Replace replaces the text."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    case = RelayTest(
        Reasoning("hm"),
        Text("a"),
        Replace("b"),
        ToolCallDelta([call]),
        Finished("stop"),
    )
    events = await case.run()
    assert events[1:-1] == [
        ("generation.delta", {"i": 0, "reasoning": "hm"}),
        ("generation.delta", {"i": 1, "text": "a"}),
        ("generation.replaced", {"i": 2, "text": "b"}),
        ("generation.delta", {"i": 3, "tool_calls": [call]}),
    ]
    assert (await case.record()).text == "b"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([FAILURE], "upstream_error"),
        ([Text("a"), FAILURE], "upstream_error"),
        ([Text("a")], "upstream_truncated"),
        ([], "upstream_truncated"),
        ([Text("a"), ZeroDivisionError()], "upstream_protocol"),
        ([Text("x" * 600), Text("x" * 600), Finished("stop")], "answer_too_large"),
    ],
)
async def test_failed_answer(script: list[Any], code: str) -> None:
    """A failure has one end event with its code; the text is kept and the upstream is closed."""
    case = RelayTest(*script)
    name, data = (await case.run())[-1]
    assert (name, data["code"]) == ("generation.failed", code)
    assert set(data) == {"code", "message", "retryable", "usage", "deltas"}
    assert case.upstream.closed == 1
    assert (await case.record()).status is Status.FAILED


async def test_unknown_upstream() -> None:
    """A job for an upstream that this worker does not have fails."""
    case = RelayTest()
    await case.queue(upstream="other")
    await case.relay.run(case.lease(), case.stop)
    assert (await case.events())[-1][1]["code"] == "upstream_unknown"


@pytest.mark.parametrize("seen", [0, 1, 2])
async def test_stop_while_the_upstream_is_silent(seen: int) -> None:
    """A stop closes the upstream, also before the first token; the text so far is kept."""
    gate = Gate()
    gate.close()
    case = RelayTest(*[Text("a")] * seen, gate, *ANSWER)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    case.stop.set("bob")
    case.stop.set("carol")
    events = await running
    assert events[-1] == ("generation.stopped", {"by": "bob", "usage": None, "deltas": seen})
    assert case.upstream.closed == 1
    assert (await case.record()).text == "a" * seen


async def test_lost_stop_notice_is_found_by_the_next_publish() -> None:
    """A stop request whose notice was lost is in the result of the next publish."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, *ANSWER)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    await case.backend.generations.request_stop(case.id, "alice")
    gate.open()
    events = await running
    assert events[-1] == ("generation.stopped", {"by": "alice", "usage": None, "deltas": 2})


async def test_stop_before_the_start_calls_no_upstream() -> None:
    """A stop request made before the start causes no call to the upstream."""
    case = RelayTest(*ANSWER)
    await case.queue()
    await case.backend.generations.request_stop(case.id, "alice")
    await case.relay.run(case.lease(), case.stop)
    assert [name for name, _ in await case.events()] == ["generation.stopped"]
    assert case.upstream.requests == []


async def test_stop_against_the_natural_end() -> None:
    """There is one end event, whenever the stop request arrives."""
    for steps in range(40):
        case = RelayTest(*ANSWER)
        await case.queue()
        running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
        for _ in range(steps):
            await asyncio.sleep(0)
        case.stop.set("alice")
        await running
        assert (await case.events())[-1][0] in ENDS


async def test_ended_generation_is_ignored() -> None:
    """A job that is delivered twice runs once."""
    case = RelayTest(*ANSWER)
    events = await case.run()
    await case.relay.run(case.lease(), StopSignal())
    assert await case.events() == events
    assert len(case.upstream.requests) == 1


async def test_second_worker_restarts() -> None:
    """After a lost worker, another one restarts the text and announces it."""
    case = RelayTest(*ANSWER)
    await case.queue()
    lost = [
        Publication(
            channel=ALICE,
            name="generation.started",
            data=json.dumps({"generation": case.id}).encode(),
            update=GenerationUpdate(case.id, 1, UpdateKind.BEGIN),
        ),
        Publication(
            channel=ALICE,
            name="generation.delta",
            data=json.dumps({"generation": case.id}).encode(),
            update=GenerationUpdate(case.id, 1, UpdateKind.DELTA, entries=b"lost"),
        ),
    ]
    await case.backend.events.publish(lost)
    await case.relay.run(case.lease(), case.stop)
    events = await case.events()
    context = GenerationContext(user="alice", generation=case.id, attempt=2, inputs={})
    assert case.upstream.contexts == [context]
    assert events[2] == ("generation.restarted", {"attempt": 2, "model": "m"})
    assert events[3] == ("generation.delta", {"i": 0, "text": "Hel"})
    assert (await case.record()).text == "Hello"


async def test_superseded_worker_writes_nothing() -> None:
    """Once another attempt has started, the first one is refused and closes its upstream."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("old"), gate, Text("late"), Finished("stop"))
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    second = ScriptedUpstream(ANSWER)
    relay = Relay(
        case.backend.events,
        case.backend.generations,
        {"main": second},
        case.clock,
        RELAY_LIMITS,
    )
    await relay.run(case.lease(), StopSignal())
    events = await case.events()
    gate.open()
    await running
    assert await case.events() == events
    assert (await case.record()).text == "Hello"
    assert case.upstream.closed == 1


async def test_too_many_attempts() -> None:
    """A generation that was started too often fails."""
    case = RelayTest(*ANSWER, max_attempts=1)
    await case.queue()
    begin = GenerationUpdate(case.id, 1, UpdateKind.BEGIN)
    data = json.dumps({"generation": case.id}).encode()
    await case.backend.events.publish(
        [Publication(channel=ALICE, name="generation.started", data=data, update=begin)]
    )
    await case.relay.run(case.lease(), case.stop)
    assert (await case.events())[-1][1]["code"] == "too_many_attempts"
    assert case.upstream.requests == []


async def test_broker_outage() -> None:
    """A publish is repeated after an outage; no delta is lost or duplicated."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, *ANSWER)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    case.backend.is_unavailable = True
    gate.open()
    await settled()
    case.backend.is_unavailable = False
    await case.clock.advance(1.0)
    events = await running
    assert [data.get("i") for name, data in events if name == "generation.delta"] == [0, 1, 2]
    assert events[-1][0] == "generation.done"


CALL = {
    "index": 0,
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
}


@pytest.mark.parametrize(
    ("published", "lost_after"),
    [(published, lost_after) for published in range(5) for lost_after in range(-1, published + 1)],
)
async def test_fail_over_that_loses_writes(published: int, lost_after: int) -> None:
    """The answer is complete, whichever of its last writes a fail-over lost.

    lost_after: the number of parts that the new server has; -1 means not even the begin.
    """
    parts: list[Part] = [
        Text("Hel"),
        Reasoning("hm"),
        ToolCallDelta([CALL]),
        Text("lo"),
    ]
    copied, failed = Gate(), Gate()
    copied.close()
    failed.close()
    script: list[Any] = [
        *parts[: max(lost_after, 0)],
        copied,
        *parts[max(lost_after, 0) : published],
    ]
    case = RelayTest(*script, failed, *parts[published:], Finished("stop"))
    await case.queue()
    replica = Replica(case.backend)
    running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
    await until(lambda: copied.waiting == 1)
    await settled()
    if lost_after >= 0:
        replica = Replica(case.backend)
    copied.open()
    await until(lambda: failed.waiting == 1)
    await settled()
    replica.promote()
    failed.open()
    result = await running
    assert isinstance(result, GenerationResult)
    events = await case.events()
    start = max(n for n, (name, _) in enumerate(events) if name in BEGINS)
    answer = [data for name, data in events[start:] if name == "generation.delta"]
    assert [data["i"] for data in answer] == list(range(len(answer)))
    assert "".join(data.get("text", "") for data in answer) == "Hello"
    assert "".join(data.get("reasoning", "") for data in answer) == "hm"
    assert [call for data in answer for call in data.get("tool_calls", [])] == [CALL]
    assert events[-1][0] == "generation.done"
    assert events[-1][1]["deltas"] == len(answer)
    record = await case.record()
    assert (record.text, record.status) == ("Hello", Status.DONE)
    assert len(case.upstream.requests) == 1


async def test_fail_over_that_loses_writes_of_a_superseded_worker() -> None:
    """A worker that has lost the lease does not begin again."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, *ANSWER)
    await case.queue()
    replica = Replica(case.backend)
    held = True

    async def holds_lease() -> bool:
        return held

    running = asyncio.create_task(case.relay.run(case.lease(), case.stop, holds_lease=holds_lease))
    await until(lambda: gate.waiting == 1)
    await settled()
    replica.promote()
    held = False
    gate.open()
    with pytest.raises(AttemptSuperseded):
        await running
    assert (await case.record()).status is Status.QUEUED


async def test_fail_over_that_loses_a_record() -> None:
    """The end is published without the record, and the job is over."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, *ANSWER)
    replica = Replica(case.backend)
    await case.queue()
    running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
    await until(lambda: gate.waiting == 1)
    await settled()
    replica.promote()
    gate.open()
    assert await running is not None
    assert [(name, data["code"]) for name, data in await case.events()] == [
        ("generation.failed", "generation_lost")
    ]


async def test_two_workers_with_the_same_attempt() -> None:
    """A fail-over loses the begin of one worker, and another begins the same attempt."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("old"), gate, Text("late"), Finished("stop"))
    await case.queue()
    replica = Replica(case.backend)
    running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
    await until(lambda: gate.waiting == 1)
    await settled()
    replica.promote()
    second_gate = Gate()
    second_gate.close()
    second = ScriptedUpstream([Text("new"), second_gate, *ANSWER])
    relay = Relay(
        case.backend.events, case.backend.generations, {"main": second}, case.clock, RELAY_LIMITS
    )
    other = asyncio.create_task(relay.run(case.lease(), StopSignal()))
    await until(lambda: second_gate.waiting == 1)
    await settled()
    gate.open()
    with pytest.raises(AttemptSuperseded):
        await running
    second_gate.open()
    await other
    record = await case.record()
    assert (record.text, record.status, record.attempt) == ("newHello", Status.DONE, 1)


async def test_parts_that_arrive_together_are_coalesced() -> None:
    """Neighbours of the same kind become one delta; the order of the kinds is kept."""
    batch = [
        Text("b"),
        Text("c"),
        Reasoning("h"),
        Reasoning("m"),
        Replace("x"),
        Text("y"),
    ]
    events = await RelayTest([Text("a")], batch, Finished("stop")).run()
    assert events[1:-1] == [
        ("generation.delta", {"i": 0, "text": "a"}),
        ("generation.delta", {"i": 1, "text": "bc"}),
        ("generation.delta", {"i": 2, "reasoning": "hm"}),
        ("generation.replaced", {"i": 3, "text": "xy"}),
    ]


async def test_first_delta_is_immediate_and_later_ones_wait() -> None:
    """The upstream is read once per flush interval; the first part is published at once."""
    read: list[str] = []

    class Upstream:
        async def stream(
            self, request: GenerationRequest, context: GenerationContext | None = None
        ) -> AsyncGenerator[list[Part], None]:
            for word in ("a", "b", "c"):
                read.append(word)
                yield [Text(word)]
            yield [Finished("stop")]

    case = RelayTest(flush_seconds=0.5)
    case.relay._upstreams = {"main": Upstream()}
    await case.queue()
    running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
    seen = []
    for _ in range(4):
        await settled()
        seen.append((len(read), len(await case.events())))
        await case.clock.advance(0.5)
    await running
    assert seen == [(1, 2), (2, 3), (3, 4), (3, 5)]


async def test_stop_during_the_flush_delay() -> None:
    """A stop request ends the flush delay."""
    case = RelayTest(*ANSWER, flush_seconds=3600.0)
    running = asyncio.create_task(case.run())
    await until(lambda: bool(case.clock._sleepers))
    case.stop.set("bob")
    events = await running
    assert events[-1][0] == "generation.stopped"
    assert case.upstream.closed == 1


async def test_request_that_waited_too_long() -> None:
    """A request that waited too long fails before the upstream is called."""
    case = RelayTest(*ANSWER, max_queued_seconds=60.0)
    request = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
    await case.backend.generations.create(Generation(case.id, "alice", request), None)
    case.age_seconds += 61
    await case.relay.run(case.lease(), case.stop)
    assert [(name, data["code"]) for name, data in await case.events()] == [
        ("generation.failed", "queue_timeout")
    ]
    assert case.upstream.requests == []


async def test_job_that_crashes_its_workers() -> None:
    """A job that was delivered often but never started fails."""
    case = RelayTest(*ANSWER, max_attempts=3)
    await case.queue()
    await case.relay.run(case.lease(deliveries=4), case.stop)
    assert [(name, data["code"]) for name, data in await case.events()] == [
        ("generation.failed", "too_many_attempts")
    ]


async def test_cancelled_worker_is_not_a_stop() -> None:
    """A cancellation is passed on, also when a stop request arrives at the same moment."""
    gate = Gate()
    gate.close()
    case = RelayTest(gate, *ANSWER)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    running.cancel()
    case.stop.set("bob")
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [name for name, _ in await case.events()] == ["generation.started"]


async def test_result() -> None:
    """The result has the usage, and durations that rise from queued to total."""
    case = RelayTest(*ANSWER)
    await case.queue()
    result = await case.relay.run(case.lease(), case.stop)
    assert isinstance(result, GenerationResult)
    assert (result.status, result.code, result.usage) == (Status.DONE, "", {"completion_tokens": 2})
    assert result.first_delta_seconds is not None
    assert result.queued_seconds <= result.first_delta_seconds <= result.total_seconds
    assert await case.relay.run(case.lease(), StopSignal()) is None


async def test_endless_tool_calls() -> None:
    """The arguments of tool calls count for the size limit."""
    call = {"index": 0, "function": {"arguments": "x" * 600}}
    events = await RelayTest(*[ToolCallDelta([call])] * 5, Finished("tool_calls")).run()
    assert events[-1][1]["code"] == "answer_too_large"


LOST = (
    "generation.failed",
    {
        "code": "generation_lost",
        "message": "the broker lost the record of this answer",
        "retryable": True,
        "usage": None,
    },
)


def lost(deltas: int) -> tuple[str, dict[str, Any]]:
    return LOST[0], {**LOST[1], "deltas": deltas}


@pytest.mark.parametrize("delta", [0, 1, 2])
async def test_record_is_lost(delta: int) -> None:
    """When the record vanishes during an answer, before a delta or the end, the answer fails once,
    and a repeated job adds nothing.
    """
    gate = Gate()
    parts: list[Any] = [Text("a"), Text("b"), Finished("stop")]
    case = RelayTest(*parts[:delta], gate, *parts[delta:], flush_seconds=0.0)
    gate.close()
    await case.queue()
    running = asyncio.create_task(case.relay.run(case.lease(), case.stop))
    await until(lambda: gate.waiting == 1)
    await settled()
    del case.backend.generations.records[case.id]
    gate.open()
    result = await running
    assert isinstance(result, GenerationResult)
    assert (result.status, result.code) == (Status.FAILED, "generation_lost")
    events = await case.events()
    assert events[-1][0] == "generation.failed"
    assert events[-1] == lost(events[-1][1]["deltas"])
    assert case.upstream.closed == 1
    assert await case.relay.run(case.lease(), case.stop) is None
    assert await case.events() == events


async def test_record_is_lost_while_the_job_is_queued() -> None:
    """The answer fails once as lost, however often the job is delivered."""
    case = RelayTest(*ANSWER)
    result = await case.relay.run(case.lease(), case.stop)
    assert isinstance(result, GenerationResult)
    assert (result.status, result.code) == (Status.FAILED, "generation_lost")
    assert result.generation.request.upstream == "main"
    assert await case.events() == [lost(0)]
    assert await case.relay.run(case.lease(deliveries=2), case.stop) is None
    assert await case.events() == [lost(0)]
    assert case.upstream.requests == []


async def test_record_is_lost_between_two_workers() -> None:
    """When the first worker died, the second one ends the answer."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, *ANSWER)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    running.cancel()
    del case.backend.generations.records[case.id]
    assert await case.relay.run(case.lease(deliveries=2), case.stop) is not None
    assert (await case.events())[-1] == lost(0)


async def test_record_has_expired_after_the_end() -> None:
    """An answer whose end is in the log gets no other one."""
    case = RelayTest(*ANSWER)
    events = await case.run()
    del case.backend.generations.records[case.id]
    assert await case.relay.run(case.lease(deliveries=2), StopSignal()) is None
    assert await case.events() == events


async def test_record_and_lease_are_lost() -> None:
    """A worker that has lost the lease publishes nothing, also when it finds no record."""
    case = RelayTest(*ANSWER)

    async def holds_lease() -> bool:
        return False

    assert await case.relay.run(case.lease(), case.stop, holds_lease=holds_lease) is None
    assert await case.events() == []


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_record_is_lost_before_the_start(is_stopped: bool) -> None:
    """A record that vanishes between its reading and the first event ends the answer as lost."""
    case = RelayTest(*ANSWER)
    await case.queue()
    if is_stopped:
        await case.backend.generations.request_stop(case.id, "alice")

    async def lose_record() -> bool:
        case.backend.generations.records.pop(case.id, None)
        return True

    assert await case.relay.run(case.lease(), case.stop, holds_lease=lose_record) is not None
    assert await case.events() == [lost(0)]


async def test_record_is_lost_with_the_lease() -> None:
    """A worker that has lost the lease too publishes nothing: it does not know what others did."""
    gate = Gate()
    gate.close()
    case = RelayTest(Text("a"), gate, Text("b"), Finished("stop"))
    await case.queue()
    leases = iter([True])

    async def holds_lease() -> bool:
        return next(leases, False)

    running = asyncio.create_task(case.relay.run(case.lease(), case.stop, holds_lease=holds_lease))
    await until(lambda: gate.waiting == 1)
    await settled()
    before = await case.events()
    del case.backend.generations.records[case.id]
    gate.open()
    assert await running is None
    assert await case.events() == before


LOST_PROCESS = [Text("old"), Usage({"completion_tokens": 9}), ProducerLost()]


async def test_lost_function_is_not_called_again() -> None:
    """Without retries, an answer whose process was lost fails, and says that it can be repeated."""
    case = RelayTest(LOST_PROCESS, ANSWER, retries=0)
    events = await case.run()
    assert case.function.attempts == [1]
    assert [name for name, _ in events] == [
        "generation.started", "generation.delta", "generation.failed",
    ]  # fmt: skip
    assert (events[-1][1]["code"], events[-1][1]["retryable"]) == ("producer_lost", True)


@pytest.mark.parametrize("retries", [1, 2, 5])
async def test_lost_function_is_called_again_as_often_as_it_allows(retries: int) -> None:
    """Each call is a new attempt; what the one before it yielded is void, also its usage."""
    case = RelayTest(*[LOST_PROCESS] * retries, ANSWER, retries=retries)
    events = await case.run()
    assert case.function.attempts == [*range(1, retries + 2)]
    begins = [(name, data["attempt"]) for name, data in events if name in BEGINS]
    restarts = [("generation.restarted", attempt) for attempt in range(2, retries + 2)]
    assert begins == [("generation.started", 1), *restarts]
    assert events[-1][1]["usage"] == {"completion_tokens": 2}
    record = await case.record()
    assert (record.text, record.status) == ("Hello", Status.DONE)


async def test_lost_function_fails_after_its_retries() -> None:
    """The last loss ends the answer."""
    case = RelayTest(LOST_PROCESS, retries=2)
    events = await case.run()
    assert case.function.attempts == [1, 2, 3]
    assert events[-1][1]["code"] == "producer_lost"


@pytest.mark.parametrize(("retries", "attempts"), [(0, []), (1, [2])])
async def test_function_of_a_lost_worker(retries: int, attempts: list[int]) -> None:
    """After another worker began, the function is called again only if its retries allow it."""
    case = RelayTest(ANSWER, retries=retries)
    await case.queue()
    update = GenerationUpdate(case.id, 1, UpdateKind.BEGIN, writer="w")
    begin = Publication(
        channel=ALICE,
        name="generation.started",
        data=json.dumps({"generation": case.id}).encode(),
        update=update,
    )
    await case.backend.events.publish([begin])
    await case.relay.run(case.lease(deliveries=2), case.stop)
    assert case.function.attempts == attempts
    record = await case.record()
    assert record.status is (Status.DONE if attempts else Status.FAILED)
    assert record.end.get("code") == (None if attempts else "producer_lost")


async def test_stop_of_a_function_that_was_lost() -> None:
    """A stop during a retry ends the answer as stopped, once."""
    gate = Gate()
    gate.close()
    case = RelayTest(LOST_PROCESS, [gate, *ANSWER], retries=3)
    running = asyncio.create_task(case.run())
    await until(lambda: gate.waiting == 1)
    case.stop.set("alice")
    events = await running
    assert case.function.attempts == [1, 2]
    assert events[-1][0] == "generation.stopped"


async def test_order_of_a_functions_parts_is_kept() -> None:
    """Parts of many kinds in one flush are published in their order."""
    parts: list[Part] = [part for n in range(40) for part in (Text(str(n)), Reasoning(str(n)))]
    case = RelayTest([parts, Finished("stop")], retries=0)
    case.relay._limits = msgspec.structs.replace(
        case.relay._limits, parts=PartsLimits(max_part_bytes=10_000, max_record_bytes=10_000)
    )
    deltas = [data for name, data in await case.run() if name == "generation.delta"]
    assert [next(k for k in data if k != "i") for data in deltas] == ["text", "reasoning"] * 40
