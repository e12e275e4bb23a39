"""The guard of an answer under a real relay: verdicts, failures, stops, restarts and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hub.core.metrics import HistogramSnapshot
from hub.core.parts import Data, Finished, Part, Reasoning, Status, Text, Usage
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.metrics.guard_metrics import GuardMetrics
from hub.engine.worker.text_guard import GuardOptions, TextGuard
from hub.errors import ProducerLost, UpstreamError
from hub.guard import End, Replace, Retract, Window
from hub.producer import Run
from hub.testing.backend import MemoryBackend
from hub.testing.guards import InProcessGuard
from tests.doubles import FakeClock, Gate, settled, until
from tests.engine.test_relay import ENDS, RelayTest
from tests.engine.test_resumable import CRASHES, Endpoint, World
from tests.producer.function_worker import FunctionInProcess, FunctionWorkers

DONE = Finished("stop")
PHRASE = "abba"


class GuardTest:
    """A guard of the upstream `main`, and what it counts. options: those of GuardOptions."""

    def __init__(self, function: Callable[[Window], Any] = lambda window: None, **options: Any):
        self.metrics = GuardMetrics()
        self.function = InProcessGuard(function)
        chosen = GuardOptions(**{"hold_back_characters": 0, **options})
        observer = self.metrics.observer("main")
        self.guard = TextGuard("main", self.function, chosen, FakeClock(), observer)

    def relay(self, *script: Any, **options: Any) -> RelayTest:
        return RelayTest(*script, guard=self.guard, **options)


def mask(window: Window) -> Replace:
    return Replace(window.text.replace(PHRASE, "[*]"))


def texts(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [data["text"] for _, data in events if "text" in data]


async def test_guard_that_passes() -> None:
    """Events are those without a guard; the guard saw for whom the answer is, and the last text."""
    case = GuardTest()
    usage = Usage({"completion_tokens": 2})
    relay = case.relay([Reasoning("r"), Text("a")], Text("b"), usage, DONE)
    events = await relay.run()
    assert [name for name, _ in events] == [
        "generation.started",
        *["generation.delta"] * (len(events) - 2),
        "generation.done",
    ]
    assert "".join(texts(events)) == "ab"
    assert events[-1][1]["usage"] == {"completion_tokens": 2}
    last = case.function.windows[-1]
    assert (last.user, last.generation, last.attempt) == ("alice", relay.id, 1)
    assert (last.whole_text, last.is_last) == ("ab", True)
    assert case.function.closed == 1
    assert case.metrics.guard_checks["main", "pass"] == len(case.function.windows)
    assert isinstance(case.metrics.guard_delay_seconds.snapshot("main"), HistogramSnapshot)


@given(st.lists(st.text("ab", min_size=1, max_size=5), max_size=8), CRASHES)
def test_workers_that_are_lost(chunks: list[str], crashes: list[tuple[int, int]]) -> None:
    """A phrase is masked wherever workers are lost, also if another one continues the answer."""

    async def run() -> None:
        upstream = Endpoint([*([Text(chunk)] for chunk in chunks), [DONE]])
        case = GuardTest(mask, hold_back_characters=len(PHRASE) - 1)
        world = World(upstream, crashes, case.guard)
        await world.run()
        masked = "".join(chunks).replace(PHRASE, "[*]")
        assert (await world.record()).text == masked
        assert (await world.events())[-1][0] == "generation.done"

    asyncio.run(run())


async def test_upstream_is_read_while_a_check_runs() -> None:
    """What arrives during a check is in the next window."""
    gate, read, end = Gate(), Gate(), Gate()

    async def check(window: Window) -> None:
        await gate.passed()

    case = GuardTest(check)
    for each in (gate, read, end):
        each.close()
    relay = case.relay(Text("a"), read, Text("b"), Text("c"), end, DONE)
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: gate.waiting == 1)
    read.open()
    await until(lambda: end.waiting == 1)
    assert [window.text for window in case.function.windows] == ["a"]
    gate.open()
    await until(lambda: case.metrics.guard_checks["main", "pass"] == 2)
    end.open()
    await running
    assert [window.text for window in case.function.windows][:2] == ["a", "bc"]
    assert "".join(texts(await relay.events())) == "abc"


async def test_checks_run_between_two_publishes() -> None:
    """What arrives while the relay waits for its next publish is checked meanwhile."""
    gate = Gate()
    gate.close()
    case = GuardTest()
    relay = case.relay(Text("a"), gate, Text("b"), DONE, flush_seconds=10.0)
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: case.metrics.guard_checks["main", "pass"] == 1)
    await settled()
    assert texts(await relay.events()) == ["a"]
    gate.open()
    await until(lambda: case.metrics.guard_checks["main", "pass"] > 1)
    assert texts(await relay.events()) == ["a"]
    await relay.clock.advance(10.0)
    await running
    assert texts(await relay.events()) == ["a", "b"]


async def test_stop_while_the_guard_hangs() -> None:
    """The answer is stopped at once, and the text that was not checked is never shown."""

    async def check(window: Window) -> None:
        await asyncio.Event().wait()

    case = GuardTest(check)
    relay = case.relay(Text("a"), Usage({"completion_tokens": 1}), Gate(), DONE)
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: len(case.function.windows) == 1)
    relay.stop.set("alice")
    await running
    events = await relay.events()
    assert [name for name, _ in events] == ["generation.started", "generation.stopped"]
    assert relay.upstream.closed == case.function.closed == 1


@pytest.mark.parametrize("text", [None, "", "This was removed."])
async def test_guard_ends_the_answer(text: str | None) -> None:
    """The answer fails with the code of the guard, and its text is taken back if it says so."""

    def check(window: Window) -> End | None:
        if "bad" in window.whole_text:
            return End("policy", "This is against the policy.", text)
        return None

    gate = Gate()
    case = GuardTest(check)
    relay = case.relay(Text("good "), gate, [Text("bad"), Usage({"completion_tokens": 2})], DONE)
    gate.close()
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: case.metrics.guard_checks["main", "pass"] == 1)
    gate.open()
    result = await running
    events = await relay.events()
    replaced = [] if text is None else [("generation.replaced", {"i": 1, "text": text})]
    assert events[1:-1] == [("generation.delta", {"i": 0, "text": "good "}), *replaced]
    name, end = events[-1]
    assert (name, end["code"], end["retryable"]) == ("generation.failed", "policy", False)
    assert end["message"] == "This is against the policy."
    assert end["usage"] == {"completion_tokens": 2}
    assert relay.upstream.closed == 1
    assert isinstance(result, GenerationResult)
    assert result.code == "policy"
    assert (await relay.record()).text == ("good " if text is None else text)


async def test_failure_of_the_upstream_does_not_hide_the_end_by_the_guard() -> None:
    """The answer fails with the code of the guard, also if its upstream fails at that moment."""
    ended, gate = asyncio.Event(), Gate()

    async def check(window: Window) -> End:
        await ended.wait()
        gate.open()
        return End("policy", "No.")

    case = GuardTest(check)
    gate.close()
    failure = UpstreamError("upstream_error", "it broke", retryable=True)
    relay = case.relay(Text("bad"), gate, Status("late"), failure)
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: gate.waiting == 1)
    ended.set()
    await running
    events = await relay.events()
    assert [name for name, _ in events] == ["generation.started", "generation.failed"]
    assert events[-1][1]["code"] == "policy"


async def test_guard_retracts() -> None:
    """`generation.replaced` has the new text, and what the upstream sends later follows it."""
    gate = Gate()
    case = GuardTest(lambda window: Retract("[gone] ") if "bad" in window.text else None)
    relay = case.relay(Text("so bad "), gate, Text("later"), DONE)
    gate.close()
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: case.metrics.guard_checks["main", "retract"] == 1)
    gate.open()
    await running
    assert "generation.replaced" in [name for name, _ in await relay.events()]
    assert (await relay.record()).text == "[gone] later"


def fail(window: Window) -> None:
    raise ValueError("a secret")


@pytest.mark.parametrize("on_error", ["end", "pass"])
async def test_guard_that_fails(on_error: str) -> None:
    """`on_error` decides whether the answer ends or is shown; the reason is in the log only."""
    case = GuardTest(fail, on_error=on_error)
    relay = case.relay(Text("a"), DONE)
    with structlog.testing.capture_logs() as logs:
        name, end = (await relay.run())[-1]
    assert case.metrics.guard_errors["main"] >= 1
    assert any("a secret" in log.get("reason", "") for log in logs)
    if on_error == "end":
        assert (name, end["code"], end["retryable"]) == ("generation.failed", "guard_failed", True)
        assert "secret" not in end["message"]
        assert (await relay.record()).text == ""
    else:
        assert name == "generation.done"
        assert (await relay.record()).text == "a"


@pytest.mark.parametrize(
    ("options", "end", "text"),
    [
        ({"on_slow": "pass"}, "generation.done", "a"),
        ({"on_slow": "wait", "max_wait_seconds": 0.02}, "generation.failed", ""),
        (
            {"on_slow": "wait", "max_wait_seconds": 0.02, "on_error": "pass"},
            "generation.done",
            "a",
        ),
    ],
)
async def test_guard_that_hangs(options: dict[str, Any], end: str, text: str) -> None:
    """`on_slow` passes the text, or waits until the check has failed."""

    async def check(window: Window) -> None:
        await asyncio.Event().wait()

    case = GuardTest(check, timeout_seconds=0.01, **options)
    relay = case.relay(Text("a"), DONE)
    assert (await relay.run())[-1][0] == end
    assert (await relay.record()).text == text
    assert case.metrics.guard_slow_checks["main"] >= 1


async def test_slow_guard_is_waited_for() -> None:
    """A verdict that comes after `timeout_seconds` counts."""
    case = GuardTest(timeout_seconds=0.001)
    release = asyncio.Event()

    async def check(window: Window) -> Replace:
        if not case.metrics.guard_slow_checks["main"]:
            await release.wait()
        return Replace(window.text.upper())

    case.function.function = check
    relay = case.relay(Text("a"), DONE)
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: case.metrics.guard_slow_checks["main"] == 1)
    release.set()
    await running
    assert (await relay.record()).text == "A"


async def test_upstream_that_fails() -> None:
    """The text before the failure is checked and shown, then the answer fails as it would have."""
    case = GuardTest(mask, hold_back_characters=10)
    failure = UpstreamError("upstream_error", "it broke", retryable=True)
    relay = case.relay(Text("ab"), Text("ba!"), failure)
    name, end = (await relay.run())[-1]
    assert (name, end["code"]) == ("generation.failed", "upstream_error")
    assert (await relay.record()).text == "[*]!"


@pytest.mark.parametrize("bug", ["source", "verdict"])
async def test_bug_fails_the_answer(bug: str) -> None:
    """A task of the guard that ends with an exception ends the answer, which does not hang."""
    case = GuardTest(lambda window: Replace(5) if bug == "verdict" else None)  # type: ignore[arg-type]
    relay = case.relay(Text("a"), Data("d", object()) if bug == "source" else Text("b"), DONE)
    async with asyncio.timeout(60):
        name, end = (await relay.run())[-1]
    assert (name, end["code"]) == ("generation.failed", "upstream_protocol")


async def test_answer_that_is_too_large() -> None:
    """What fits is shown, the answer fails, and both tasks end."""
    case = GuardTest()
    relay = case.relay(*[Text("x" * 300)] * 10, DONE)
    name, end = (await relay.run())[-1]
    assert (name, end["code"]) == ("generation.failed", "answer_too_large")
    assert relay.upstream.closed == case.function.closed == 1


async def test_lost_function_is_called_again() -> None:
    """A guard's whole text is that of the new attempt: what was shown of the other is void."""
    case = GuardTest()
    first: list[Any] = [Text("old"), ProducerLost()]
    relay = case.relay(first, [Text("new"), DONE], retries=1)
    assert (await relay.run())[-1][0] == "generation.done"
    assert (await relay.record()).text == "new"
    assert case.function.windows[-1].whole_text == "new"
    assert case.function.windows[-1].attempt == 2


async def test_function_waits_for_the_check_at_a_checkpoint() -> None:
    """`run.save` returns when the text before it is published, and a later attempt follows it."""
    seen: list[str] = []
    workers: FunctionWorkers

    async def answer(run: Run) -> AsyncIterator[Any]:
        if run.checkpoint is None:
            yield "one abba "
            await run.step("s", lambda: 1, visible=False)
            yield Status("s")
            await run.save(1)
            seen.append((await workers.record()).text)
            yield "void"
            await producer.die()
        yield "two"

    producer = FunctionInProcess(answer, retries=1)
    case = GuardTest(mask, hold_back_characters=100)
    workers = FunctionWorkers(MemoryBackend(), guard=case.guard)
    await workers.run(producer)
    assert seen == ["one [*] "]
    assert (await workers.record()).text == "one [*] two"
    names = [name for name, _ in await workers.events()]
    assert "generation.continued" in names
    assert names[-1] in ENDS
    assert case.function.windows[-1].whole_text == "one [*] two"


async def test_flood_of_an_upstream_is_bounded() -> None:
    """An upstream is not read on while too much waits for a check that hangs."""
    gate = Gate()
    gate.close()

    async def check(window: Window) -> None:
        await gate.passed()

    reads: list[int] = []
    case = GuardTest(check)
    relay = case.relay()

    async def flood(*_: Any) -> AsyncIterator[list[Part]]:
        for n in range(100):
            reads.append(n)
            yield [Text("x" * 10_000)]
        yield [DONE]

    relay.upstream.stream = flood  # type: ignore[method-assign, assignment]
    await relay.queue()
    running = asyncio.create_task(relay.relay.run(relay.lease(), relay.stop))
    await until(lambda: gate.waiting == 1)
    await settled()
    assert len(reads) < 20
    relay.stop.set("alice")
    await running
