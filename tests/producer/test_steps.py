"""Steps, checkpoints and the beginning anew: what a function gets, and what readers see."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from hub.core.folded_parts import FoldedParts
from hub.core.generation import Status as GenerationStatus
from hub.core.parts_journal import PartsLimits
from hub.producer import Data, Run, Source, Status, Stopped, SyncRun, ToolCall, ToolResult, Usage
from hub.testing.backend import MemoryBackend
from tests.doubles import Gate, settled, until
from tests.producer.function_worker import FunctionInProcess, FunctionWorkers
from tests.redis_backend import redis_backend

ENDS = {"generation.done", "generation.stopped", "generation.failed"}
STEP = {"type": "step", "name": "s", "state": "done"}


class Calls(Counter[str]):
    """Counts the calls of the functions that are steps. stored: those that must not be called."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: set[str] = set()

    async def later(self, name: str, value: Any = None) -> Any:
        self[name] += 1
        assert name not in self.stored
        await asyncio.sleep(0)
        return value

    def now(self, name: str, value: Any = None) -> Any:
        self[name] += 1
        return value


async def run_answer(
    function: FunctionInProcess | Callable[..., Any], **options: Any
) -> FunctionWorkers:
    """Return the answer of a function after its end. options: those of FunctionInProcess."""
    workers = FunctionWorkers(MemoryBackend())
    if not isinstance(function, FunctionInProcess):
        function = FunctionInProcess(function, **options)
    await workers.run(function)
    return workers


async def parts_of(function: Callable[..., Any], **options: Any) -> list[dict[str, Any]]:
    return (await (await run_answer(function, **options)).record()).parts


def lost_once(output: int, *, published: bool = True) -> Callable[[int, int, bool], bool]:
    """Lose the first attempt at an output."""
    return lambda attempt, number, is_published: (
        (attempt, number, is_published) == (1, output, published)
    )


async def test_result_is_returned_and_shown() -> None:
    """A step returns what its function returns, and readers see that it is done."""
    calls = Calls()

    async def f(run: Run) -> AsyncIterator[object]:
        yield "a"
        yield str(await run.step("s", calls.later, "x", value={"n": [1, 2]}))
        assert await run.step("hidden", calls.now, "y", visible=False) is None

    text = {"type": "text", "text": "{'n': [1, 2]}"}
    assert await parts_of(f) == [{"type": "text", "text": "a"}, STEP, text]
    assert calls == {"x": 1, "y": 1}


class CallableObject:
    async def __call__(self) -> str:
        return "object"


def returns_awaitable() -> Any:
    return CallableObject()()


def in_a_thread() -> str:
    assert threading.current_thread() is not threading.main_thread()
    return "thread"


async def with_arguments(a: int, *, name: str, fn: str) -> str:
    return f"{a}{name}{fn}"


def raises() -> None:
    raise StopIteration


def test_forms_of_a_step() -> None:
    """A step is any function; its arguments may have the names of those of `step`."""

    async def f(run: Run) -> AsyncIterator[str]:
        yield await run.step("1", in_a_thread)
        yield await run.step("2", CallableObject())
        yield await run.step("3", functools.partial(with_arguments, 1, name="n"), fn="f")
        yield await run.step("4", returns_awaitable)
        with pytest.raises((StopIteration, RuntimeError)):
            await run.step("5", raises)
        first, second = await asyncio.gather(run.step("6", in_a_thread), run.step("7", in_a_thread))
        yield first + second

    def g(run: SyncRun) -> Iterator[str]:
        thread = threading.current_thread()
        yield str(run.step("1", lambda: threading.current_thread() is thread))
        yield run.step("2", CallableObject())
        yield run.step("3", with_arguments, 1, name="n", fn="f")
        run.save(1)
        run.restart()
        yield run.idempotency_key("x")

    async def texts() -> list[str]:
        parts = [await parts_of(f), await parts_of(g)]
        return ["".join(p["text"] for p in each if p["type"] == "text") for each in parts]

    first, second = asyncio.run(texts())
    assert first == "threadobject1nfobjectthreadthread"
    assert second.startswith("g")
    assert second.endswith("/x")


@pytest.mark.parametrize("value", [b"x", object(), {1, 2}, float("nan"), "\ud800", {("a",): 1}, 1j])
async def test_result_must_be_json(value: Any) -> None:
    """Anything else is a TypeError that names the step; so is a checkpoint."""

    async def f(run: Run) -> None:
        with pytest.raises(TypeError, match="the result of the step 's' is not JSON: "):
            await run.step("s", lambda: value)
        with pytest.raises(TypeError, match="the checkpoint is not JSON: "):
            await run.save(value)

    assert (await (await run_answer(f)).record()).status is GenerationStatus.DONE


async def test_deep_result_is_refused() -> None:
    """What no JSON decoder reads does not break the connection to the worker."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    async def f(run: Run) -> str:
        with pytest.raises(TypeError, match="is not JSON"):
            await run.step("s", lambda: deep)
        return "ok"

    assert (await (await run_answer(f)).record()).text == "ok"


async def test_both_attempts_get_the_same_result() -> None:
    """A result is what JSON reads, also in the attempt that has called the function."""
    value = {"t": (1, 2), 3: "n", "big": 2**70, "u": "é\u2028"}
    results: list[Any] = []

    async def f(run: Run) -> AsyncIterator[str]:
        results.append(await run.step("s", lambda: value))
        yield "a"
        if run.attempt == 1:
            await process.die()

    process = FunctionInProcess(f, retries=1)
    await run_answer(process)
    assert results == [{"t": [1, 2], "3": "n", "big": 2**70, "u": "é\u2028"}] * 2


@pytest.mark.parametrize("name", ["", "x" * 257, "\ud800", None, 1])
async def test_name_of_a_step(name: Any) -> None:
    """A name has 1 to 256 characters, and is used once in a run."""

    async def f(run: Run) -> None:
        with pytest.raises((TypeError, ValueError), match="the name of a step must"):
            await run.step(name, lambda: 1)
        await run.step("x" * 256, lambda: 1)
        with pytest.raises(ValueError, match="was called twice in one run"):
            await run.step("x" * 256, lambda: 1)

    assert (await (await run_answer(f)).record()).status is GenerationStatus.DONE


async def test_results_that_are_too_large() -> None:
    """One that no answer holds is a ValueError; those that exceed the record end the answer."""

    async def f(run: Run) -> AsyncIterator[str]:
        with pytest.raises(ValueError, match=r"'s' has 10001 bytes; the limit .* is 10000 bytes"):
            await run.step("s", lambda: "x" * 9_999)
        with pytest.raises(ValueError, match="the checkpoint has 10001 bytes"):
            await run.save("x" * 9_999)
        for n in range(5):
            yield "a"
            await run.step(str(n), lambda: "x" * 600)

    workers = FunctionWorkers(
        MemoryBackend(), parts_limits=PartsLimits(max_part_bytes=1000, max_record_bytes=2300)
    )
    await workers.run(FunctionInProcess(f))
    record = await workers.record()
    assert (record.status, record.end["code"]) == (GenerationStatus.FAILED, "answer_too_large")
    assert record.text == "aaaa"

    async def g(run: Run) -> None:
        await run.step("s", lambda: "x" * 9_999)

    record = await (await run_answer(g)).record()
    assert record.end["code"] == "answer_too_large"
    assert "generations.max_record_bytes" in record.end["message"]


async def test_step_that_fails() -> None:
    """Its error reaches the function; nothing is stored."""

    def fails() -> None:
        raise LookupError("no")

    async def f(run: Run) -> str:
        with pytest.raises(LookupError):
            await run.step("s", fails)
        return "ok"

    assert (await (await run_answer(f)).record()).text == "ok"


@pytest.mark.parametrize("is_sync", [True, False])
async def test_stop_during_a_step(is_sync: bool) -> None:
    """The function is cancelled, and the open step is closed as cancelled."""
    gate, released = Gate(), threading.Event()
    gate.close()
    stopped: list[str] = []

    async def f(run: Run) -> AsyncIterator[str]:
        yield "a"
        try:
            await run.step("s", gate.passed)
        except asyncio.CancelledError:
            stopped.append("f")
            raise

    def g(run: SyncRun) -> Iterator[str]:
        yield "a"
        try:
            run.step("s", released.wait)
            run.save(1)
        except Stopped:
            stopped.append("g")
            raise

    workers = FunctionWorkers(MemoryBackend())
    running = asyncio.create_task(workers.run(FunctionInProcess(g if is_sync else f)))

    async def is_open() -> bool:
        record = await workers.backend.generations.find(workers.id)
        return record is not None and len(record.parts) == 2

    while not await is_open():
        await asyncio.sleep(0.001)
    workers.stop.set("alice")
    await running
    released.set()
    record = await workers.record()
    assert record.status is GenerationStatus.STOPPED
    assert record.parts[1] == {"type": "step", "name": "s", "state": "cancelled"}
    await until(lambda: stopped == ["g" if is_sync else "f"])


async def test_value_never_overtakes_parts() -> None:
    """Parts that were yielded before are published before a value is stored."""

    async def f(run: Run) -> AsyncIterator[str]:
        for n in range(30):
            yield f"{n} "
            await run.step(f"s{n}", lambda: 1)
            yield "x" * 300

    for published in (True, False):
        for output in range(10):
            workers = FunctionWorkers(MemoryBackend())
            lose = lost_once(output, published=published)
            await workers.run(FunctionInProcess(f, retries=1, lose=lose))
            events = await workers.events()
            # Before each restart, the steps that ended are those whose text came before.
            text = "".join(data.get("text", "") for _, data in events)
            assert "29" in text
            ended = [n for n, (_, data) in enumerate(events) if data.get("type") == "step_end"]
            for n in ended:
                name = events[n][1]["name"]
                before = "".join(data.get("text", "") for _, data in events[:n])
                assert f"{name[1:]} " in before


def story(calls: Calls, steps: int = 4) -> Callable[..., Any]:
    """Return a function that continues at its checkpoint."""

    async def f(run: Run) -> AsyncIterator[object]:
        yield Status(f"attempt {run.attempt}")
        for n in range(run.checkpoint or 0, steps):
            value = await run.step(f"s{n}", calls.later, f"s{n}", n)
            yield ToolCall(f"c{n}", "f", "{}")
            yield f"{value} "
            yield ToolResult(f"c{n}", n)
            yield Data("secret", n, visible=False)
            yield Usage({"completion_tokens": n + 1})
            await run.save(n + 1)
            yield "unsaved " if run.attempt == 1 else ""
        yield Source("https://example.com")

    return f


async def check_story(workers: FunctionWorkers, steps: int = 4) -> None:
    """Check that the answer is whole, and that readers have what the record has."""
    record, events = await workers.record(), await workers.events()
    assert record.status is GenerationStatus.DONE
    assert [name for name, _ in events if name in ENDS] == ["generation.done"]
    folded = FoldedParts()
    kept: list[Any] = []
    attempts: list[int] = []
    for name, data in events:
        folded.apply(name, data)
        if "attempt" in data:
            attempts.append(data["attempt"])
        if name == "generation.restarted":
            kept = []
        elif name == "generation.continued":
            kept = kept[: data["parts"]]
        elif "i" in data:
            assert data["i"] == len(kept)
            kept.append(data)
    assert attempts == [*range(1, len(attempts) + 1)]
    assert folded.parts == record.parts
    steps_shown = [part for part in record.parts if part["type"] == "step"]
    assert [part["name"] for part in steps_shown] == [f"s{n}" for n in range(steps)]
    assert {part["state"] for part in steps_shown} == {"done"}
    texts = "".join(part["text"] for part in record.parts if part["type"] == "text")
    assert texts.replace("unsaved ", "") == "".join(f"{n} " for n in range(steps))
    called = [part for part in record.parts if part["type"] == "tool_call"]
    assert [(part["index"], part["result"]) for part in called] == [(n, n) for n in range(steps)]
    hidden = [part for part in record.all_parts if part.get("visible") is False]
    assert [part["value"] for part in hidden] == [*range(steps)]


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("is_always", [True, False])
async def test_function_that_is_lost_at_every_output(published: bool, is_always: bool) -> None:
    """It continues at its checkpoint; steps whose results were stored are not called again.

    published: whether it is lost after the worker has published the output. is_always: whether each
    attempt is lost there.
    """
    whole = FunctionInProcess(story(Calls()))
    await FunctionWorkers(MemoryBackend()).run(whole)
    continued = 0
    for output in range(2 if is_always else 0, whole.outputs):
        calls, workers = Calls(), FunctionWorkers(MemoryBackend())

        def lose(attempt: int, number: int, is_published: bool, output: int = output) -> bool:
            return (number, is_published) == (output, published) and (is_always or attempt == 1)

        function = FunctionInProcess(story(calls), retries=20, lose=lose)
        calls.stored = function.stored
        await workers.run(function)
        await check_story(workers)
        assert sum(calls.values()) <= 3 + len(function.attempts)
        names = [name for name, _ in await workers.events()]
        continued += names.count("generation.continued")
    assert continued


async def test_worker_that_is_frozen_at_every_output(open_redis: Any) -> None:
    """Another worker continues; whatever the frozen one does later is refused."""
    server = await open_redis("valkey")
    whole = FunctionInProcess(story(Calls()))
    await FunctionWorkers(MemoryBackend()).run(whole)
    for output in range(whole.outputs - 1):
        calls = Calls()
        workers = FunctionWorkers(redis_backend(server.hub_client))
        frozen = FrozenFunction(story(calls), retries=3, at=output)
        await workers.create()
        first = asyncio.create_task(workers.work(frozen))
        await until(lambda frozen=frozen: frozen.gate.waiting == 1)  # type: ignore[misc]
        await workers.work(FunctionInProcess(story(calls), retries=3), deliveries=2)
        before = await workers.events()
        frozen.gate.open()
        assert await first is None
        assert await workers.events() == before
        await check_story(workers)
        assert all(calls[f"s{n}"] <= 2 for n in range(4))


class FrozenFunction(FunctionInProcess):
    """A function whose worker freezes before it has got an output. at: which one."""

    def __init__(self, function: Callable[..., Any], *, retries: int, at: int) -> None:
        super().__init__(function, retries=retries)
        self.gate = Gate()
        self.gate.close()
        self._at = at

    async def stream(self, *args: Any) -> Any:
        number = 0
        async for parts in super().stream(*args):
            if number == self._at:
                await self.gate.passed()
            number += 1
            yield parts


async def test_function_without_retries_is_not_called_again() -> None:
    """What it has stored makes no difference."""
    calls = Calls()
    function = FunctionInProcess(story(calls), lose=lost_once(6))
    workers = FunctionWorkers(MemoryBackend())
    await workers.run(function)
    assert function.attempts == [1]
    assert (await workers.record()).end["code"] == "producer_lost"


async def test_previous_parts() -> None:
    """The next attempt gets the parts up to the checkpoint, also those that readers do not see."""
    seen: list[Any] = []

    async def f(run: Run) -> AsyncIterator[object]:
        seen.append((run.checkpoint, run.previous))
        if run.attempt == 1:
            yield "kept"
            yield Data("d", 1, visible=False)
            await run.save({"n": 1})
            yield "void"
            await run.step("s", lambda: 1)
            await process.die()
        yield "!"

    process = FunctionInProcess(f, retries=1)
    workers = await run_answer(process)
    data = {"type": "data", "name": "d", "value": 1, "visible": False}
    assert seen == [(None, []), ({"n": 1}, [{"type": "text", "text": "kept"}, data])]
    assert (await workers.record()).text == "kept!"
    continued = next(d for name, d in await workers.events() if name == "generation.continued")
    snapshot = {"text": "kept", "parts": [{"type": "text", "text": "kept"}]}
    assert continued == {
        "generation": workers.id, "attempt": 2, "model": "m", "parts": 1, "snapshot": snapshot
    }  # fmt: skip


@pytest.mark.parametrize("visible", [True, False])
async def test_step_is_shown_once(visible: bool) -> None:
    """A step before the checkpoint is not shown again, one after it is; an open one is closed."""

    async def f(run: Run) -> AsyncIterator[object]:
        async def saves() -> int:
            await run.save(0)
            if run.attempt == 1:
                await asyncio.sleep(0)
            return 1

        yield str(await run.step("before", lambda: 1, visible=visible))
        yield str(await run.step("saves", saves, visible=visible))
        yield str(await run.step("after", lambda: 1, visible=visible))

    for output in range(8):
        parts = await parts_of(f, retries=1, lose=lost_once(output))
        names = [(p["name"], p["state"]) for p in parts if p["type"] == "step"]
        expected = ["before", "saves", "after"] if visible else []
        assert names == [(name, "done") for name in expected]


@pytest.mark.parametrize("loses", [True, False])
async def test_restart(loses: bool) -> None:
    """All parts are void and there is no checkpoint any more; results of steps remain."""
    calls = Calls()
    seen: list[Any] = []

    async def f(run: Run) -> AsyncIterator[object]:
        if run.attempt == 1:
            yield "old"
            await run.step("s", calls.now, "s", 5)
            await run.save(1)
            yield "old"
            if loses:
                await run.step("u", lambda: 1)
                await process.die()
        await run.restart()
        seen.append((run.checkpoint, run.previous))
        if run.attempt > 1:
            yield str(await run.step("s", calls.now, "s", 6))
        yield ToolCall("c", "f")
        await run.step("t", calls.now, "t")
        if run.attempt == 2:
            await process.die()

    process = FunctionInProcess(f, retries=2)
    workers = await run_answer(process)
    record, events = await workers.record(), await workers.events()
    assert seen == [(None, [])] * (2 if loses else 1)
    begins = [(name, data["attempt"]) for name, data in events if "attempt" in data]
    assert calls["s"] == calls["t"] == 1
    assert [part["index"] for part in record.parts if part["type"] == "tool_call"] == [0]
    if loses:
        assert begins[1:3] == [("generation.continued", 2), ("generation.restarted", 2)]
        assert record.text == "5"
    else:
        assert begins == [("generation.started", 1), ("generation.restarted", 1)]
        assert record.text == ""
    folded = FoldedParts()
    for name, data in events:
        folded.apply(name, data)
    assert folded.parts == record.parts
    numbers = [data["i"] for _, data in events if "i" in data]
    assert numbers[-1] == record.deltas - 1


async def test_restart_of_an_answer_without_parts_is_not_shown() -> None:
    """There is nothing to discard."""

    async def f(run: Run) -> AsyncIterator[str]:
        await run.restart()
        yield "a"

    names = [name for name, _ in await (await run_answer(f)).events()]
    assert names == ["generation.started", "generation.delta", "generation.done"]


async def test_usage_of_a_continued_answer() -> None:
    """That of the parts before the checkpoint counts, that of void parts does not."""

    async def f(run: Run) -> AsyncIterator[object]:
        if run.attempt == 1:
            yield Usage({"completion_tokens": 5, "prompt_tokens": 1})
            yield "a"
            await run.save(1)
            yield Usage({"completion_tokens": 100})
            await run.step("s", lambda: 1)
            await process.die()
        yield Usage({"completion_tokens": 2})

    process = FunctionInProcess(f, retries=1)
    workers = await run_answer(process)
    assert (await workers.record()).end["usage"] == {"completion_tokens": 7, "prompt_tokens": 1}


async def test_loss_of_redis_writes_keeps_what_is_stored() -> None:
    """After a fail-over that lost parts, the answer has its values and its checkpoint again."""
    workers = FunctionWorkers(MemoryBackend())
    calls = Calls()
    records = workers.backend.generations.records  # type: ignore[attr-defined]

    async def f(run: Run) -> AsyncIterator[str]:
        if run.attempt > 2:
            yield f"{run.checkpoint}{await run.step('s', calls.now, 's')}"
            return
        yield "a"
        await run.step("s", calls.now, "s", 5)
        old = records[workers.id]
        yield "b"
        await run.save(7)
        yield "c"
        records[workers.id] = old
        await run.step("t", calls.now, "t")
        await process.die()

    process = FunctionInProcess(f, retries=3)
    await workers.run(process)
    record = await workers.record()
    assert record.text == "ab75"
    assert calls == {"s": 1, "t": 1}
    folded = FoldedParts()
    for name, data in await workers.events():
        folded.apply(name, data)
    assert folded.parts == record.parts


async def test_no_reader_sees_values() -> None:
    """What a function stores is in no event, snapshot or part."""

    async def f(run: Run) -> AsyncIterator[str]:
        await run.step("s", lambda: "secret")
        await run.save("secret")
        yield "a"

    workers = await run_answer(f)
    record = await workers.record()
    assert "secret" not in str((await workers.events(), record.all_parts, record.text))
    assert b"secret" in record.journal
    await settled()
    assert msgspec.json.encode(record.parts)


async def test_step_of_a_function_that_has_returned() -> None:
    """A task that the function left behind gets Stopped at once."""
    tasks: list[asyncio.Task[Any]] = []

    async def f(run: Run) -> AsyncIterator[str]:
        tasks.append(asyncio.create_task(run.step("s", lambda: 1)))
        yield "a"

    record = await (await run_answer(f)).record()
    assert (record.status, record.text) == (GenerationStatus.DONE, "a")
    with pytest.raises(Stopped):
        await tasks[0]
