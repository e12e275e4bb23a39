"""One run: the accepted forms of functions, what they may yield, and how they end."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.durable import PartOrCommand
from hub.core.folded_parts import FoldedParts
from hub.core.part_events import to_event
from hub.core.parts import Part
from hub.producer import (
    Data,
    Failed,
    File,
    Run,
    Source,
    Status,
    Stopped,
    SyncRun,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.producer.answer import AnswerSource, AskRequest
from hub.producer.app import producer_of
from hub.producer.call import MAX_PARTS_AHEAD, FunctionCall
from hub.producer.inputs import InputValue
from hub.producer.output import MAX_BUFFERED_BYTES, InvalidPart, OutputBuffer
from hub.producer.protocol import End
from hub.producer.run import Notification, RunContext
from tests.doubles import settled, until
from tests.parts import PARTS

CONTEXT = RunContext(
    user="alice",
    generation="g1",
    attempt=1,
    chat=None,
    messages=[{"role": "user", "content": "hi"}],
    model="m",
    params={},
    metadata={},
)


class CallTest:
    """A function, its buffer, and a worker that asks for parts as soon as it has some."""

    def __init__(
        self, function: Callable[..., Any], *, pulls: bool = True, context: RunContext = CONTEXT
    ) -> None:
        self.received: list[list[PartOrCommand]] = []
        self.end: End | None = None
        self.published: list[Notification] = []
        self._pulls = pulls
        self.output = OutputBuffer(10_000, self._on_parts)
        run = Run(context, "state", None, self, self.output)
        self.call = FunctionCall(producer_of(function), run, context, self.output)

    async def publish(self, notification: Notification) -> None:
        self.published.append(notification)

    def open_answer(self, request: AskRequest) -> AnswerSource:
        raise NotImplementedError

    def open_input(self, key: str) -> asyncio.Future[InputValue]:
        raise NotImplementedError

    def close_input(self, key: str) -> None:
        raise NotImplementedError

    def _on_parts(self, parts: list[PartOrCommand], end: End | None) -> None:
        self.received.append(parts)
        self.end = end
        if end is None and self._pulls:
            self.output.pull()

    @property
    def parts(self) -> list[PartOrCommand]:
        return [part for parts in self.received for part in parts]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    async def run(self) -> End:
        if self._pulls:
            self.output.pull()
        async with asyncio.timeout(60):
            end = await self.call.run()
        if not self.call.is_cancelled:
            self.output.finish(end)
        return end


async def async_generator(run: Run) -> AsyncIterator[str]:
    yield f"{run.prompt} "
    await asyncio.sleep(0)
    yield run.state


async def coroutine(run: Run) -> str:
    return f"{run.prompt} {run.state}"


async def coroutine_of_generator(run: Run) -> AsyncIterator[str]:
    return async_generator(run)


def sync_generator(run: SyncRun) -> Iterator[str]:
    assert threading.current_thread() is not threading.main_thread()
    yield f"{run.prompt} "
    yield run.state


def sync_function(run: SyncRun) -> Text:
    assert threading.current_thread() is not threading.main_thread()
    return Text(f"{run.prompt} {run.state}")


def sync_of_async(run: SyncRun) -> Any:
    return async_generator(run)  # type: ignore[arg-type]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


class Answerer:
    async def __call__(self, run: Run) -> str:
        return f"{run.prompt} {run.state}"


@pytest.mark.parametrize(
    "function",
    [
        async_generator,
        coroutine,
        coroutine_of_generator,
        sync_generator,
        sync_function,
        sync_of_async,
        wrapped(async_generator),
        wrapped(sync_generator),
        Answerer(),
    ],
    ids=lambda function: getattr(function, "__name__", "object"),
)
async def test_accepted_forms(function: Callable[..., Any]) -> None:
    """Each form of a function gives the same answer; a synchronous one runs in a thread."""
    case = CallTest(function)
    assert await case.run() == End()
    assert case.text == "hi state"
    assert case.end == End()


@pytest.mark.parametrize(
    "wrong",
    [
        5, b"bytes", ["a"], {"type": "text", "text": "a"}, object(), Text, True,
        Text(5), Source(url=None), Status(b"x"), Usage("x"), ToolCallDelta([5]),  # type: ignore[arg-type,list-item]
        Data("name", object()), Data("name", {"x": {1, 2, object()}}),
        Data("text", "\ud800"), ToolResult("id", lambda: 1),
        File(media_type="image/png"), File(url="u", data="d", media_type="image/png"),
    ],
    ids=lambda wrong: type(wrong).__name__,
)  # fmt: skip
@pytest.mark.parametrize("form", ["async", "coroutine", "sync"])
async def test_value_that_is_no_part(wrong: object, form: str) -> None:
    """It fails the run with one sentence for the log; the parts before it remain valid."""
    cleaned = []

    async def answer(run: Run) -> AsyncIterator[Any]:
        try:
            yield "a"
            yield wrong
            yield "b"
        finally:
            cleaned.append(True)

    async def whole(run: Run) -> Any:
        cleaned.append(True)
        return wrong

    def sync(run: SyncRun) -> Iterator[Any]:
        try:
            yield "a"
            yield wrong
        finally:
            cleaned.append(True)

    forms: dict[str, Callable[..., Any]] = {"async": answer, "coroutine": whole, "sync": sync}
    case = CallTest(forms[form])
    end = await case.run()
    assert (end.code, end.retryable) == ("producer_error", False)
    assert end.detail.startswith("the function yielded ")
    assert "\n" not in end.detail
    assert case.text == ("" if form == "coroutine" else "a")
    assert cleaned


@given(st.lists(PARTS, max_size=8))
def test_parts_arrive_as_they_were_yielded(parts: list[Part]) -> None:
    """The parts of a run fold to the same answer as those that the function yielded.

    The ids of its tool calls differ; test_repeated_ids_of_tool_calls has the others.
    """
    public: list[Part] = []
    ids: set[str] = set()
    for part in parts:
        if isinstance(part, ToolCall) and part.id not in ids:
            ids.add(part.id)
            public.append(part)
        elif not isinstance(part, ToolCall | ToolCallDelta):
            public.append(part)

    async def answer(run: Run) -> AsyncIterator[Part]:
        for part in public:
            yield part

    async def run() -> CallTest:
        case = CallTest(answer)
        assert await case.run() == End()
        return case

    assert _fold(asyncio.run(run()).parts) == _fold(public)


@given(st.lists(st.text() | PARTS.filter(lambda part: not _has_call_id(part)), max_size=50))
def test_parts_of_a_thread_are_those_of_the_event_loop(values: list[str | Part]) -> None:
    """A synchronous function gives the same answer as an asynchronous one, in the same order,
    however its parts are handed over.
    """

    async def answer(run: Run) -> AsyncIterator[str | Part]:
        for value in values:
            yield value

    def sync(run: SyncRun) -> Iterator[str | Part]:
        yield from values

    async def run(function: Callable[..., Any], *, pulls: bool) -> CallTest:
        case = CallTest(function, pulls=pulls)
        running = asyncio.create_task(case.run())
        while not running.done():
            case.output.pull()
            await settled()
        case.output.pull()
        return case

    expected = _fold(asyncio.run(run(answer, pulls=True)).parts)
    for pulls in (True, False):
        assert _fold(asyncio.run(run(sync, pulls=pulls)).parts) == expected


def _has_call_id(part: Part) -> bool:
    return isinstance(part, ToolCall | ToolCallDelta)  # test_repeated_ids_of_tool_calls has them


def _fold(parts: Sequence[PartOrCommand]) -> list[dict[str, Any]]:
    folded = FoldedParts()
    for part in parts:
        assert isinstance(part, Part)
        folded.apply(*to_event(part))
    return folded.parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud83d\ude00", "😀"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
        ("\x00\u2028é", "\x00\u2028é"),
        ("x" * 100_000, "x" * 100_000),
        ("😀" * 30_000, "😀" * 30_000),
    ],
    ids=["pair", "high", "low", "controls", "long", "long emoji"],
)
async def test_texts(text: str, expected: str) -> None:
    """Any text is published; what is no Unicode becomes U+FFFD, and a long one is split."""

    async def answer(run: Run) -> str:
        return text

    case = CallTest(answer)
    await case.run()
    assert case.text == expected
    assert max(len(part.text) for part in case.parts if isinstance(part, Text)) <= 64 * 1024


async def test_deltas_of_tool_calls_get_the_normal_form() -> None:
    """Deltas as an SDK gives them are accepted: without a type, with arguments as an object."""

    async def answer(run: Run) -> AsyncIterator[ToolCallDelta]:
        yield ToolCallDelta([{"index": 0, "id": "c", "function": {"name": "f"}}])
        yield ToolCallDelta([{"index": 0, "function": {"arguments": '{"a":'}}])
        yield ToolCallDelta([{"index": 0, "function": {"arguments": "1}"}}])
        yield ToolCallDelta([{"id": "d", "function": {"name": "g"}, "run_by": "producer"}])

    case = CallTest(answer)
    assert await case.run() == End()
    calls = [part for part in _fold(case.parts) if part["type"] == "tool_call"]
    assert [(each["id"], each["name"], each["arguments"]) for each in calls] == [
        ("c", "f", '{"a":1}'),
        ("d", "g", "{}"),
    ]
    assert [each["run_by"] for each in calls] == ["client", "producer"]


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("it broke"), "ValueError: it broke"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (StopIteration(), "StopIteration"),
        (ExceptionGroup("several", [ValueError("a")]), "several"),
        (BadText(), "BadText"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("form", ["async", "sync"])
async def test_exception_fails_the_answer(error: BaseException, detail: str, form: str) -> None:
    """Every exception ends the run as producer_error; its text is for the log only."""

    async def answer(run: Run) -> str:
        raise error

    def sync(run: SyncRun) -> str:
        raise error

    end = await CallTest(answer if form == "async" else sync).run()
    assert (end.code, end.message) == ("producer_error", "the application failed to answer")
    assert detail in end.detail or detail in end.traceback
    assert "Traceback" in end.traceback


async def test_failed_is_for_the_client() -> None:
    """Failed ends the run with its own code and message."""

    async def answer(run: Run) -> AsyncIterator[str]:
        yield "a"
        raise Failed("no_credit", "There is no credit left.", retryable=True)

    assert await CallTest(answer).run() == End("no_credit", "There is no credit left.", True)


async def test_part_that_no_answer_can_hold() -> None:
    """It ends the run as answer_too_large, with the limit."""

    async def answer(run: Run) -> Data:
        return Data("x", "y" * 20_000)

    end = await CallTest(answer).run()
    assert end.code == "answer_too_large"
    assert "10000 bytes (generations.max_record_bytes)" in end.message


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_function_waits_while_the_worker_does_not_read(form: str) -> None:
    """A function that yields without end fills the buffer once, and other tasks go on."""
    yielded = 0

    async def answer(run: Run) -> AsyncIterator[str]:
        nonlocal yielded
        while True:
            yielded += 1
            yield "x" * 1000

    def sync(run: SyncRun) -> Iterator[str]:
        nonlocal yielded
        while True:
            yielded += 1
            yield "x" * 1000

    case = CallTest(answer if form == "async" else sync, pulls=False)
    running = asyncio.create_task(case.run())
    full = MAX_BUFFERED_BYTES // 1000 + 1
    await until(lambda: yielded >= full)
    await settled()
    ahead = MAX_PARTS_AHEAD if form == "sync" else 0
    assert full <= yielded <= full + ahead
    case.output.pull()
    await until(lambda: yielded >= 2 * full)
    assert full * 1000 <= len(case.text) <= (full + ahead) * 1000
    case.call.cancel()
    assert await running == End()


async def test_tasks_that_wait_for_the_worker_at_once() -> None:
    """All go on when the worker has taken the parts, also if one of them is cancelled."""
    buffer = OutputBuffer(10_000, lambda parts, end: None)
    tasks = [asyncio.create_task(buffer.put("x" * MAX_BUFFERED_BYTES)) for _ in range(3)]
    await settled()
    assert not any(task.done() for task in tasks)
    tasks[1].cancel()
    while not (tasks[0].done() and tasks[2].done()):
        buffer.pull()
        await settled()
    assert tasks[1].cancelled()
    waiting = [asyncio.create_task(buffer.put("x" * MAX_BUFFERED_BYTES)) for _ in range(3)]
    await settled()
    buffer.stop()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {Stopped}


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_flood_of_empty_texts_lets_others_run(form: str) -> None:
    """A function that yields empty texts without end neither fills memory nor stops the loop."""
    yielded = 0

    async def answer(run: Run) -> AsyncIterator[str]:
        while True:
            yield ""

    def sync(run: SyncRun) -> Iterator[str]:
        nonlocal yielded
        while True:
            yielded += 1
            yield ""

    case = CallTest(answer if form == "async" else sync, pulls=False)
    running = asyncio.create_task(case.run())
    await settled()
    if form == "sync":
        await until(lambda: yielded > 2 * MAX_PARTS_AHEAD)
        assert len(case.output._thread_parts) <= MAX_PARTS_AHEAD
    case.call.cancel()
    assert await running == End()


async def test_stop_is_thrown_into_a_generator_at_its_yield() -> None:
    """A generator that waits at a yield gets CancelledError there; what it yields is ignored."""
    seen: list[object] = []

    async def answer(run: Run) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
        except asyncio.CancelledError as error:
            seen.append(type(error))
            yield "late"

    case = CallTest(answer, pulls=False)
    running = asyncio.create_task(case.run())
    await settled()
    case.call.cancel()
    await running
    case.output.pull()
    assert seen == [asyncio.CancelledError]
    assert "late" not in case.text


async def test_stop_cancels_what_a_function_awaits() -> None:
    """The function gets CancelledError at its await, and its cleanup may await as well."""
    seen: list[str] = []

    async def answer(run: Run) -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned")

    case = CallTest(answer)
    running = asyncio.create_task(case.run())
    await until(lambda: case.text == "a")
    case.call.cancel()
    assert await running == End()
    assert seen == ["cleaned"]


async def test_stop_of_a_synchronous_function() -> None:
    """Its next yield, or call of the run, raises Stopped, which `except Exception` lets through."""
    gate = threading.Event()
    seen: list[object] = []

    def answer(run: SyncRun) -> Iterator[str]:
        yield "a"
        gate.wait(30)
        try:
            run.publish("note", 1)
        except Stopped as error:
            seen.append(type(error))
        try:
            yield "b"
        except Exception:  # noqa: BLE001 - what applications do
            seen.append("swallowed")
        finally:
            seen.append("cleaned")

    case = CallTest(answer)
    running = asyncio.create_task(case.run())
    await until(lambda: case.text == "a")
    case.call.cancel()
    gate.set()
    assert await running == End()
    assert seen == [Stopped, "cleaned"]
    assert case.text == "a"
    assert case.published == []


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_publish(form: str) -> None:
    """A run publishes notifications with the options of POST /publish."""

    async def answer(run: Run) -> None:
        await run.publish("order", {"n": 1}, id="k", ephemeral=True, ttl_seconds=5)

    def sync(run: SyncRun) -> None:
        run.publish("order", {"n": 1}, id="k", ephemeral=True, ttl_seconds=5)

    case = CallTest(answer if form == "async" else sync)
    assert await case.run() == End()
    (sent,) = case.published
    assert (sent.event, bytes(sent.data), sent.id, sent.ephemeral) == (
        "order",
        b'{"n":1}',
        "k",
        True,
    )


async def test_publish_of_what_is_no_json() -> None:
    """It raises TypeError in the function."""

    async def answer(run: Run) -> str:
        with pytest.raises(TypeError):
            await run.publish("order", object())
        return "done"

    assert await CallTest(answer).run() == End()


async def test_parts_of_one_iteration_are_one_message() -> None:
    """What a function yields before it waits is sent in one message."""

    async def answer(run: Run) -> AsyncIterator[Part | str]:
        for n in range(10):
            yield str(n)
            yield Status("s")
        await asyncio.sleep(0.01)
        yield "end"

    case = CallTest(answer)
    await case.run()
    assert len(case.received) == 2
    assert len(case.received[0]) == 20


async def test_buffer_refuses_after_stop() -> None:
    """Nothing is taken after a stop."""
    buffer = OutputBuffer(100, lambda parts, end: None)
    buffer.stop()
    with pytest.raises(Stopped):
        await buffer.put("x")
    with pytest.raises(InvalidPart):
        await buffer.put(5)


async def test_repeated_ids_of_tool_calls() -> None:
    """Each call has an id of its own, and a result belongs to the newest call with its id."""

    def counted(index: int) -> ToolCallDelta:
        return ToolCallDelta([{"index": index, "id": "0", "function": {"name": "h"}}])

    async def function(run: Run) -> AsyncIterator[Part]:
        yield ToolCall("0", "f")
        yield ToolResult("0", "first")
        yield ToolCall("0", "g", visible=False)
        yield ToolResult("0", "second")
        yield counted(0)
        yield ToolResult("unknown", None)

    call = CallTest(function)
    await call.run()
    calls: dict[str, str] = {}
    results: dict[str, object] = {}
    for part in call.parts:
        match part:
            case ToolCall(id_, name):
                calls[id_] = name
            case ToolCallDelta([{"id": id_, "function": {"name": name}}]):
                calls[id_] = name
            case ToolResult(id_, result):
                results[id_] = result
    assert list(calls.values()) == ["f", "g", "h"]
    assert {calls.get(id_): result for id_, result in results.items()} == {
        "f": "first",
        "g": "second",
        None: None,
    }
    assert "0" in calls
    assert "unknown" in results
