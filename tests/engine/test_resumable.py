"""An upstream that can continue an answer generates it once, however many workers are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import user_channel
from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Generation, GenerationRequest, Message, Status
from hub.core.generation_context import GenerationContext
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Reasoning, Text, ToolCallDelta, Usage
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt import AttemptSuperseded
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.worker.failover import CircuitBreaker, Failover
from hub.engine.worker.relay import Relay
from hub.engine.worker.text_guard import TextGuard
from hub.errors import UpstreamError
from hub.ports.events import FROM_START, Publication, Published
from hub.ports.queue import Lease
from hub.ports.upstreams import ResumableUpstream, Upstream
from hub.testing.backend import MemoryBackend
from tests.defaults import endpoint
from tests.doubles import RELAY_LIMITS, FakeClock, ScriptedUpstream, settled

ALICE = user_channel("alice")
ID = "g00aaaaaaaaaaaaaaaa"
REQUEST = GenerationRequest([Message("user", "hi")], upstream="main", model="m")
LIMITS = PartsLimits(max_part_bytes=10_000, max_record_bytes=100_000)
CUT = UpstreamError("upstream_truncated", "cut", retryable=True)


class Endpoint:
    """Implements ports.upstreams.ResumableUpstream: it holds the answers that it has generated.

    batches: the parts of every answer. is_forgetful: whether it cannot continue an answer.
    `generated` counts the answers, `cancelled` has the values of the points that were cancelled.
    """

    def __init__(self, batches: Sequence[Sequence[Part]]) -> None:
        self.batches = batches
        self.generated = 0
        self.cancelled: list[Any] = []
        self.previous: list[Any] = []  # the folded parts of each checkpoint
        self.is_forgetful = False
        self.failures: list[UpstreamError] = []  # each is raised by one call, after the first batch

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        for batch in self.batches:
            yield batch

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        first = 0
        if checkpoint is not None:
            self.previous.append(checkpoint.folded)
            if self.is_forgetful:
                yield [Restart()]
                checkpoint = None
        if checkpoint is None:
            self.generated += 1
            yield [ResumePoint({"next": 0})]
        else:
            first = msgspec.json.decode(checkpoint.value)["next"]
        for n, batch in enumerate(self.batches[first:], first):
            if self.failures:
                raise self.failures.pop()
            yield [*batch, ResumePoint({"next": n + 1})]

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        self.cancelled.append(msgspec.json.decode(checkpoint.value))


class Crash(Exception):
    """The worker is killed."""


class World:
    """Workers that relay one answer of alice, and are killed while they publish.

    crashes: for each worker, how many calls of the broker it makes and how many publications of
    the next call are written. Without an entry a worker is not killed. guard: checks the answer.
    """

    def __init__(
        self,
        upstream: Upstream,
        crashes: Sequence[tuple[int, int]] = (),
        guard: TextGuard | None = None,
    ) -> None:
        self.backend = MemoryBackend()
        self.upstream = upstream
        self.deliveries = 0
        self.crashes = list(crashes)
        self.calls: list[int] = []  # the number of publications of each call
        self._publish = self.backend.events.publish
        self._left: tuple[int, int] | None = None
        self.relay = Relay(
            self, self.backend.generations, {"main": upstream}, FakeClock(),
            msgspec.structs.replace(RELAY_LIMITS, parts=LIMITS, max_attempts=100),
            guards={} if guard is None else {"main": guard},
        )  # fmt: skip
        self.stop = StopSignal()
        self.request = REQUEST
        self.stop_after = b"nothing"  # a stop is requested behind an event with this

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        self.calls.append(len(publications))
        if self._left is not None:
            calls, written = self._left
            if not calls:
                await self._write(publications[:written])
                raise Crash
            self._left = calls - 1, written
        return await self._write(publications)

    async def _write(self, publications: Sequence[Publication]) -> list[Published]:
        published = await self._publish(publications)
        if any(self.stop_after in publication.data for publication in publications):
            await self.backend.generations.request_stop(ID, "alice")
        return published

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend.events, name)

    async def run(self) -> None:
        """Run one worker after the other until the answer has ended."""
        await self.backend.generations.create(Generation(ID, "alice", self.request), None)
        while True:
            self._left = self.crashes.pop(0) if self.crashes else None
            self.deliveries += 1
            lease = Lease(ID, "alice", "main", "1", deliveries=self.deliveries)
            try:
                await self.relay.run(lease, self.stop)
                return
            except (Crash, AttemptSuperseded):
                pass

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        pages = await self.backend.events.read({ALICE: FROM_START}, max_events=999, max_bytes=10**6)
        return [(event.name, msgspec.json.decode(event.data)) for event in pages[ALICE].events]

    async def record(self) -> Generation:
        record = await self.backend.generations.find(ID)
        assert record is not None
        return record


def fold(events: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    folded = FoldedParts()
    for name, data in events:
        folded.apply(name, data)
    return folded.parts


def call_delta(index: int, arguments: str) -> Part:
    return ToolCallDelta([{"index": index, "function": {"arguments": arguments}}])


def call_head(index: int) -> Part:
    head = {"index": index, "id": f"c{index}", "type": "function"}
    return ToolCallDelta([{**head, "function": {"name": "f", "arguments": ""}}])


TEXT = st.text(alphabet="aé\U0001f600 ", min_size=1, max_size=3)
BATCHES = st.lists(
    st.lists(st.one_of(st.builds(Text, TEXT), st.builds(Reasoning, TEXT)), max_size=3), max_size=6
)
CRASHES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=6)


@given(BATCHES, CRASHES)
def test_upstream_generates_once_and_readers_see_the_whole(
    batches: list[list[Part]], crashes: list[tuple[int, int]]
) -> None:
    """For random parts, and workers that are killed before, within and after a publish.

    A worker that is killed before it has stored the first point loses the answer; it is then
    generated again, which no upstream can prevent.
    """

    async def run() -> None:
        upstream = Endpoint([*batches, [Finished("stop")]])
        world = World(upstream, crashes)
        await world.run()
        events = await world.events()
        parts = [part for batch in batches for part in batch]
        expected = FoldedParts()
        for part in parts:
            expected.apply(*to_event(part))
        assert fold(events) == expected.parts == (await world.record()).parts
        early = sum(calls == 0 or (calls == 1 and written == 0) for calls, written in crashes)
        assert 1 <= upstream.generated <= 1 + early
        names = [name for name, _ in events]
        assert names.count("generation.restarted") <= early
        assert names[-1] == "generation.done"

    asyncio.run(run())


async def test_takeover_continues_behind_the_newest_part() -> None:
    """Readers keep what they have: `parts` of generation.continued is the number of all parts."""
    counts = [Usage({"completion_tokens": n}) for n in (2, 3)]
    batches: list[list[Part]] = [
        [Text("a")],
        [Text("b"), counts[0]],
        [Text("c"), counts[1]],
        [Finished("stop")],
    ]
    upstream = Endpoint(batches)
    world = World(upstream, [(4, 0)])
    await world.run()
    events = await world.events()
    assert [(name, data.get("parts"), data.get("text")) for name, data in events] == [
        ("generation.started", None, None),
        ("generation.delta", None, "a"),
        ("generation.delta", None, "b"),
        ("generation.continued", 2, None),
        ("generation.delta", None, "c"),
        ("generation.done", None, None),
    ]
    assert upstream.previous == [[{"type": "text", "text": "ab"}]]
    # The usage of the part that was lost with the worker is not known, the rest adds up.
    assert events[-1][1]["usage"] == {"completion_tokens": 5}
    assert upstream.cancelled == []


async def lose_workers(world: World, crashes: Sequence[tuple[int, int]]) -> list[str]:
    """Kill a worker for each of these, with a limit of 3. Return the names of the last events."""
    world.crashes = [*crashes]
    world.relay = Relay(
        world, world.backend.generations, {"main": world.upstream}, FakeClock(),
        msgspec.structs.replace(RELAY_LIMITS, parts=LIMITS, max_attempts=3),
    )  # fmt: skip
    await world.run()
    return [data.get("code", name) for name, data in await world.events()][-1:]


async def test_lost_workers_that_made_progress_do_not_count() -> None:
    """The limit is for workers in a row that store nothing; the number of the attempt counts all.

    A worker that is killed in its second publish has stored one more part.
    """
    upstream = Endpoint([*([Text("a")] for _ in range(9)), [Finished("stop")]])
    world = World(upstream)
    assert await lose_workers(world, [(2, 0)] * 8) == ["generation.done"]
    record = await world.record()
    assert (record.text, record.attempt, upstream.generated) == ("a" * 9, 9, 1)


async def test_lost_workers_without_progress_count() -> None:
    """Each that is killed before it stores a part counts, also after workers that stored one."""
    for progress in (0, 5):
        upstream = Endpoint([*([Text("a")] for _ in range(9)), [Finished("stop")]])
        world = World(upstream)
        crashes = [(2, 0)] * progress + [(1, 0)] * 3
        assert await lose_workers(world, crashes) == ["too_many_attempts"]
        assert (await world.record()).attempt == progress + 3


async def test_points_ride_on_the_publish_of_parts() -> None:
    """Only the first one, which comes before any part, is a publication of its own."""
    upstream = Endpoint([[Text("a")], [], [Reasoning("b"), Text("c")], [Finished("stop")]])
    world = World(upstream)
    await world.run()
    assert world.calls == [1, 1, 1, 2, 1]


async def test_forgotten_answer_is_restarted() -> None:
    """Readers get generation.restarted, and nothing of the first answer remains."""
    upstream = Endpoint([[Text("a")], [Text("b")], [Finished("stop")]])
    upstream.is_forgetful = True
    world = World(upstream, [(3, 0)])
    await world.run()
    events = await world.events()
    names = [name for name, _ in events]
    assert names[2:5] == ["generation.continued", "generation.restarted", "generation.delta"]
    assert (await world.record()).text == "ab"
    assert upstream.generated == 2


async def test_discarded_point_is_not_continued() -> None:
    """What an upstream takes back is gone with the next part."""
    discard: list[Any] = [[Text("a"), ResumePoint(1)], [Text("b"), ResumePoint(None)], [Text("c")]]
    upstream = Scripted(discard)
    world = World(upstream, [(3, 0)])
    await world.run()
    assert upstream.checkpoints == [None, None]
    assert [name for name, _ in await world.events()].count("generation.restarted") == 1


async def test_calls_go_on_with_their_numbers() -> None:
    """A call after a takeover does not grow the arguments of one before it."""
    batches: list[list[Part]] = [[call_head(0), call_delta(0, "{}")], [Text("x")]]
    upstream = Endpoint([*batches, [Finished("tool_calls")]])
    world = World(upstream, [(3, 0)])
    await world.run()
    assert [part["type"] for part in (await world.record()).parts] == ["tool_call", "text"]


class Scripted:
    """Implements ports.upstreams.ResumableUpstream by one script for all calls."""

    def __init__(self, script: Sequence[Sequence[Any]]) -> None:
        self._script = script
        self.checkpoints: list[Checkpoint | None] = []
        self.cancelled: list[Checkpoint] = []

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        yield [Finished("stop")]

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        self.checkpoints.append(checkpoint)
        for batch in self._script:
            if isinstance(batch, Exception):
                raise batch
            yield batch
        yield [Finished("stop")]

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        self.cancelled.append(checkpoint)


@pytest.mark.parametrize(("crashes", "point"), [([], 2), ([(2, 1)], 1)])
async def test_stopped_answer_is_cancelled_at_its_endpoint(
    crashes: list[tuple[int, int]], point: int
) -> None:
    """Also when the worker that read it was lost before the stop."""
    upstream = Endpoint([[Text("a")], [Text("b")], [Finished("stop")]])
    world = World(upstream, crashes)
    world.stop_after = b'"a"'
    await world.run()
    assert (await world.record()).status is Status.STOPPED
    assert upstream.cancelled == [{"next": point}]


class FailoverTest:
    """A failover with the endpoints a, b, … on a fake clock."""

    def __init__(self, *upstreams: Upstream, retries: int = 2) -> None:
        self.clock = FakeClock()
        self.failover = Failover(
            [
                endpoint(
                    name=name,
                    upstream=upstream,
                    circuit=CircuitBreaker(self.clock, failure_threshold=3, open_seconds=30.0),
                    retries=retries,
                    max_retry_after_seconds=20.0,
                )
                for name, upstream in zip("abc", upstreams, strict=False)
            ],
            self.clock,
        )

    async def read(self, checkpoint: Checkpoint | None = None) -> list[StreamOutput]:
        """Return the output of the stream; the clock advances while the failover sleeps."""
        output: list[StreamOutput] = []

        async def read() -> None:
            async for batch in self.failover.resumable_stream(REQUEST, None, checkpoint):
                output.extend(batch)

        reading = asyncio.create_task(read())
        while not reading.done():
            await settled()
            await self.clock.advance(0.1)
        await reading
        return output


def checkpoint_of(output: Sequence[StreamOutput], text: str) -> Checkpoint:
    """Return the checkpoint of the newest point."""
    value = [each.value for each in output if isinstance(each, ResumePoint)][-1]
    folded = [{"type": "text", "text": text}]
    return Checkpoint(value=msgspec.json.encode(value), folded=folded)


def parts_of(output: Sequence[StreamOutput]) -> list[StreamOutput]:
    return [each for each in output if not isinstance(each, ResumePoint)]


async def test_failover_asks_the_endpoint_that_has_the_answer() -> None:
    """It is called first on a takeover, also if it is a fallback."""
    first = ScriptedUpstream([CUT])
    second = Endpoint([[Text("a")], [Text("b")], [Finished("stop")]])
    case = FailoverTest(first, second, retries=0)
    output = await case.read()
    assert parts_of(output) == [Text("a"), Text("b"), Finished("stop")]
    at_a = checkpoint_of(output[:3], "a")
    assert parts_of(await case.read(at_a)) == [Text("b"), Finished("stop")]
    assert (second.generated, len(first.requests)) == (1, 1)
    await case.failover.cancel(REQUEST, at_a)
    assert second.cancelled == [{"next": 1}]


async def test_other_endpoint_begins_anew() -> None:
    """When the endpoint that has the answer fails for good, the parts so far are void."""
    first = Endpoint([[Text("a")], [Finished("stop")]])
    case = FailoverTest(first, ScriptedUpstream([Text("z"), Finished("stop")]), retries=1)
    at_a = checkpoint_of((await case.read())[:3], "a")
    first.failures = [CUT, CUT]
    assert await case.read(at_a) == [Restart(), Text("z"), Finished("stop")]


async def test_retry_continues_the_answer_that_has_begun() -> None:
    """A connection that breaks before the first part costs no second generation."""
    first = Endpoint([[Text("a")], [Finished("stop")]])
    first.failures = [CUT]
    assert parts_of(await FailoverTest(first).read()) == [Text("a"), Finished("stop")]
    assert first.generated == 1


async def test_checkpoint_of_something_else_is_void() -> None:
    """A function of the same name may have saved it before the settings changed."""
    first = Endpoint([[Text("a")], [Finished("stop")]])
    saved = Checkpoint(value=b'{"page":1}', folded=[])
    output = await FailoverTest(first).read(saved)
    assert parts_of(output) == [Restart(), Text("a"), Finished("stop")]


def test_ports() -> None:
    """The relay recognises upstreams that can continue."""
    assert isinstance(Endpoint([]), ResumableUpstream)
    assert isinstance(Failover([], FakeClock()), ResumableUpstream)
    assert not isinstance(ScriptedUpstream([]), ResumableUpstream)
