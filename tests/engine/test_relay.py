"""One generation, whatever happens: begin, deltas from 0, exactly one end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.generation import (
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Status,
    UpdateKind,
    new_generation_id,
)
from hub.core.stream_parts import (
    Finished,
    ReasoningDelta,
    StreamPart,
    TextDelta,
    TextReplaced,
    ToolCallDelta,
    Usage,
)
from hub.engine.relay import Relay
from hub.engine.stop_signal import StopSignal
from hub.errors import UpstreamError
from hub.ports.events import FROM_START, Publication
from hub.testing.backend import MemoryBackend
from tests.doubles import RELAY_LIMITS, FakeClock, Gate, ScriptedUpstream, settled, until

ALICE = user_channel("alice")
WHOLE: list[StreamPart] = [
    TextDelta("Hel"),
    TextDelta("lo"),
    Usage({"completion_tokens": 2}),
    Finished("stop"),
]
BROKEN = UpstreamError("upstream_error", "it broke", retryable=True)
ENDS = {"generation.done", "generation.stopped", "generation.failed"}


class Stage:
    """A relay on a broker in memory, and one generation of alice's."""

    def __init__(self, *script: Any, **limits: Any) -> None:
        self.backend = MemoryBackend()
        self.clock = FakeClock()
        self.upstream = ScriptedUpstream(script)
        self.relay = Relay(
            self.backend.events,
            self.backend.generations,
            {"main": self.upstream},
            self.clock,
            msgspec.structs.replace(RELAY_LIMITS, **limits),
        )
        self.id = new_generation_id(partition_of(ALICE))
        self.stop = StopSignal()

    async def queue(self, upstream: str = "main") -> None:
        question = GenerationRequest([Message("user", "hi")], upstream=upstream, model="m")
        await self.backend.generations.create(Generation(self.id, "alice", question), None)

    async def run(self) -> list[tuple[str, dict[str, Any]]]:
        await self.queue()
        await self.relay.run(self.id, self.stop)
        return await self.story()

    async def story(self) -> list[tuple[str, dict[str, Any]]]:
        """What was published, each without the generation's id, with one end at most, last."""
        pages = await self.backend.events.read(
            {ALICE: FROM_START}, max_events=1000, max_bytes=10**6
        )
        events = pages[ALICE].events
        story = [(event.name, json.loads(event.data)) for event in events]
        assert all(data.pop("generation") == self.id for _, data in story)
        for name, data in story:
            assert ("seconds" in data) is (name in ENDS)
            data.pop("seconds", None)
        ends = [name for name, _ in story if name in ENDS]
        assert len(ends) <= 1
        assert not ends or story[-1][0] == ends[0]
        return story

    async def record(self) -> Generation:
        found = await self.backend.generations.find(self.id)
        assert found is not None
        return found


async def test_whole_answer() -> None:
    """Started, the deltas, done with usage and reason."""
    stage = Stage(*WHOLE)
    assert await stage.run() == [
        ("generation.started", {"attempt": 1, "model": "m"}),
        ("generation.delta", {"i": 0, "text": "Hel"}),
        ("generation.delta", {"i": 1, "text": "lo"}),
        (
            "generation.done",
            {"finish_reason": "stop", "usage": {"completion_tokens": 2}, "deltas": 2},
        ),
    ]
    record = await stage.record()
    assert (record.status, record.text, record.deltas) == (Status.DONE, "Hello", 2)


async def test_every_kind_of_piece() -> None:
    """Reasoning and tool calls are deltas too; a rewriting replaces the text."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    stage = Stage(
        ReasoningDelta("hm"),
        TextDelta("a"),
        TextReplaced("b"),
        ToolCallDelta([call]),
        Finished("stop"),
    )
    story = await stage.run()
    assert story[1:-1] == [
        ("generation.delta", {"i": 0, "reasoning": "hm"}),
        ("generation.delta", {"i": 1, "text": "a"}),
        ("generation.replaced", {"i": 2, "text": "b"}),
        ("generation.delta", {"i": 3, "tool_calls": [call]}),
    ]
    assert (await stage.record()).text == "b"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([BROKEN], "upstream_error"),
        ([TextDelta("a"), BROKEN], "upstream_error"),
        ([TextDelta("a")], "upstream_truncated"),
        ([], "upstream_truncated"),
        ([TextDelta("a"), ZeroDivisionError()], "upstream_protocol"),
        ([TextDelta("x" * 600), TextDelta("x" * 600), Finished("stop")], "upstream_too_large"),
    ],
)
async def test_failed_answer(script: list[Any], code: str) -> None:
    """One end event with the code, the text so far kept, the upstream closed."""
    stage = Stage(*script)
    name, data = (await stage.run())[-1]
    assert (name, data["code"]) == ("generation.failed", code)
    assert set(data) == {"code", "message", "retryable", "usage", "deltas"}
    assert stage.upstream.closed == 1
    assert (await stage.record()).status is Status.FAILED


async def test_unknown_upstream() -> None:
    """A job for an upstream that this worker does not have fails in one sentence."""
    stage = Stage()
    await stage.queue(upstream="other")
    await stage.relay.run(stage.id, stage.stop)
    assert (await stage.story())[-1][1]["code"] == "upstream_unknown"


@pytest.mark.parametrize("seen", [0, 1, 2])
async def test_stop_while_the_upstream_is_silent(seen: int) -> None:
    """Before the first token or later: the upstream is closed, one end, what was shown stays."""
    gate = Gate()
    gate.close()
    stage = Stage(*[TextDelta("a")] * seen, gate, *WHOLE)
    running = asyncio.create_task(stage.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    stage.stop.set("bob")
    stage.stop.set("carol")
    story = await running
    assert story[-1] == ("generation.stopped", {"by": "bob", "usage": None, "deltas": seen})
    assert stage.upstream.closed == 1
    assert (await stage.record()).text == "a" * seen


async def test_lost_stop_is_told_by_the_next_publish() -> None:
    """A wish whose notice never came is in the answer to the next event."""
    gate = Gate()
    gate.close()
    stage = Stage(TextDelta("a"), gate, *WHOLE)
    running = asyncio.create_task(stage.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    await stage.backend.generations.request_stop(stage.id, "alice")
    gate.open()
    story = await running
    assert story[-1] == ("generation.stopped", {"by": "alice", "usage": None, "deltas": 2})


async def test_stop_before_the_begin_asks_nobody() -> None:
    """A wish that was there before costs no call to the upstream."""
    stage = Stage(*WHOLE)
    await stage.queue()
    await stage.backend.generations.request_stop(stage.id, "alice")
    await stage.relay.run(stage.id, stage.stop)
    assert [name for name, _ in await stage.story()] == ["generation.stopped"]
    assert stage.upstream.requests == []


async def test_stop_against_the_natural_end() -> None:
    """Whenever the stop comes, there is one end event."""
    for steps in range(40):
        stage = Stage(*WHOLE)
        await stage.queue()
        running = asyncio.create_task(stage.relay.run(stage.id, stage.stop))
        for _ in range(steps):
            await asyncio.sleep(0)
        stage.stop.set("alice")
        await running
        assert (await stage.story())[-1][0] in ENDS


async def test_ended_generation_is_left_alone() -> None:
    """A job that comes twice runs once."""
    stage = Stage(*WHOLE)
    story = await stage.run()
    await stage.relay.run(stage.id, StopSignal())
    assert await stage.story() == story
    assert len(stage.upstream.requests) == 1


async def test_second_worker_restarts() -> None:
    """After a lost worker the text begins anew, and says so."""
    stage = Stage(*WHOLE)
    await stage.queue()
    lost = [
        Publication(
            channel=ALICE,
            name="generation.started",
            data=json.dumps({"generation": stage.id}).encode(),
            update=GenerationUpdate(stage.id, 1, UpdateKind.BEGIN),
        ),
        Publication(
            channel=ALICE,
            name="generation.delta",
            data=json.dumps({"generation": stage.id}).encode(),
            update=GenerationUpdate(stage.id, 1, UpdateKind.DELTA, text="lost"),
        ),
    ]
    await stage.backend.events.publish(lost)
    await stage.relay.run(stage.id, stage.stop)
    story = await stage.story()
    assert story[2] == ("generation.restarted", {"attempt": 2, "model": "m"})
    assert story[3] == ("generation.delta", {"i": 0, "text": "Hel"})
    assert (await stage.record()).text == "Hello"


async def test_frozen_worker_that_wakes_up_writes_nothing() -> None:
    """Once another attempt has begun, the first one is refused and closes its upstream."""
    gate = Gate()
    gate.close()
    stage = Stage(TextDelta("old"), gate, TextDelta("late"), Finished("stop"))
    running = asyncio.create_task(stage.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    second = ScriptedUpstream(WHOLE)
    relay = Relay(
        stage.backend.events,
        stage.backend.generations,
        {"main": second},
        stage.clock,
        RELAY_LIMITS,
    )
    await relay.run(stage.id, StopSignal())
    story = await stage.story()
    gate.open()
    await running
    assert await stage.story() == story
    assert (await stage.record()).text == "Hello"
    assert stage.upstream.closed == 1


async def test_too_many_attempts() -> None:
    """A poisonous job ends."""
    stage = Stage(*WHOLE, max_attempts=1)
    await stage.queue()
    begin = GenerationUpdate(stage.id, 1, UpdateKind.BEGIN)
    data = json.dumps({"generation": stage.id}).encode()
    await stage.backend.events.publish(
        [Publication(channel=ALICE, name="generation.started", data=data, update=begin)]
    )
    await stage.relay.run(stage.id, stage.stop)
    assert (await stage.story())[-1][1]["code"] == "too_many_attempts"
    assert stage.upstream.requests == []


async def test_broker_that_is_away_for_a_moment() -> None:
    """The publish is repeated; nothing is lost or twice."""
    gate = Gate()
    gate.close()
    stage = Stage(TextDelta("a"), gate, *WHOLE)
    running = asyncio.create_task(stage.run())
    await until(lambda: gate.waiting == 1)
    await settled()
    stage.backend.is_unavailable = True
    gate.open()
    await settled()
    stage.backend.is_unavailable = False
    await stage.clock.advance(1.0)
    story = await running
    assert [data.get("i") for name, data in story if name == "generation.delta"] == [0, 1, 2]
    assert story[-1][0] == "generation.done"


async def test_what_came_at_once_is_one_delta() -> None:
    """Neighbours of a kind are one; the order of kinds stays."""
    batch = [
        TextDelta("b"),
        TextDelta("c"),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        TextReplaced("x"),
        TextDelta("y"),
    ]
    story = await Stage([TextDelta("a")], batch, Finished("stop")).run()
    assert story[1:-1] == [
        ("generation.delta", {"i": 0, "text": "a"}),
        ("generation.delta", {"i": 1, "text": "bc"}),
        ("generation.delta", {"i": 2, "reasoning": "hm"}),
        ("generation.replaced", {"i": 3, "text": "xy"}),
    ]


async def test_first_delta_goes_at_once_and_the_next_ones_gather() -> None:
    """The upstream is not read again before the time is over; what comes after silence is shown."""
    read: list[str] = []

    class Upstream:
        async def stream(
            self, question: GenerationRequest
        ) -> AsyncGenerator[list[StreamPart], None]:
            for word in ("a", "b", "c"):
                read.append(word)
                yield [TextDelta(word)]
            yield [Finished("stop")]

    stage = Stage(flush_seconds=0.5)
    stage.relay._upstreams = {"main": Upstream()}
    await stage.queue()
    running = asyncio.create_task(stage.relay.run(stage.id, stage.stop))
    seen = []
    for _ in range(4):
        await settled()
        seen.append((len(read), len(await stage.story())))
        await stage.clock.advance(0.5)
    await running
    assert seen == [(1, 2), (2, 3), (3, 4), (3, 5)]


async def test_stop_while_deltas_gather() -> None:
    """The wait is cut short."""
    stage = Stage(*WHOLE, flush_seconds=3600.0)
    running = asyncio.create_task(stage.run())
    await until(lambda: bool(stage.clock._sleepers))
    stage.stop.set("bob")
    story = await running
    assert story[-1][0] == "generation.stopped"
    assert stage.upstream.closed == 1


async def test_question_that_waited_too_long() -> None:
    """Ends before anybody is asked."""
    stage = Stage(*WHOLE, max_queued_seconds=60.0)
    question = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
    record = Generation(stage.id, "alice", question, requested_at=time.time() - 61)
    await stage.backend.generations.create(record, None)
    await stage.relay.run(stage.id, stage.stop)
    assert [(name, data["code"]) for name, data in await stage.story()] == [
        ("generation.failed", "queue_timeout")
    ]
    assert stage.upstream.requests == []


async def test_job_that_kills_whoever_takes_it() -> None:
    """One that was given to workers again and again, and was never begun, ends all the same."""
    stage = Stage(*WHOLE, max_attempts=3)
    await stage.queue()
    await stage.relay.run(stage.id, stage.stop, deliveries=4)
    assert [(name, data["code"]) for name, data in await stage.story()] == [
        ("generation.failed", "too_many_attempts")
    ]


async def test_worker_that_ends_is_no_stop() -> None:
    """A cancellation goes on as one, also when a stop is wished at the same moment."""
    gate = Gate()
    gate.close()
    stage = Stage(gate, *WHOLE)
    running = asyncio.create_task(stage.run())
    await until(lambda: gate.waiting == 1)
    running.cancel()
    stage.stop.set("bob")
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [name for name, _ in await stage.story()] == ["generation.started"]


async def test_how_it_ended_is_told() -> None:
    """For those who count: usage and times, which grow from queued to total."""
    stage = Stage(*WHOLE)
    await stage.queue()
    ended = await stage.relay.run(stage.id, stage.stop)
    assert ended is not None
    assert (ended.status, ended.code, ended.usage) == (Status.DONE, "", {"completion_tokens": 2})
    assert ended.first_delta_seconds is not None
    assert ended.queued_seconds <= ended.first_delta_seconds <= ended.total_seconds
    assert await stage.relay.run(stage.id, StopSignal()) is None


async def test_endless_tool_calls() -> None:
    """Their arguments count as the answer's length, too."""
    call = {"index": 0, "function": {"arguments": "x" * 600}}
    story = await Stage(*[ToolCallDelta([call])] * 5, Finished("tool_calls")).run()
    assert story[-1][1]["code"] == "upstream_too_large"
