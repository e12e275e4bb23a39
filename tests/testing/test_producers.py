"""hub.testing: functions of an application, run in a test and lost at every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.core.generation import GenerationRequest
from hub.errors import BadRequest, UpstreamError
from hub.producer import (
    App,
    Data,
    Failed,
    InputTimeout,
    Part,
    Run,
    Source,
    Status,
    Suspend,
    SyncRun,
    Text,
    ToolCall,
    ToolResult,
    UpstreamFailed,
    Usage,
)
from hub.testing import crash_at_every_part, run_producer

FORMS = ["async", "sync"]


@asynccontextmanager
async def lifespan() -> AsyncIterator[str]:
    yield "state"


app = App(lifespan=lifespan)


@app.producer(retries=2, timeout_seconds=30)
async def support(run: Run) -> AsyncIterator[Part | str]:
    yield Status("Searching")
    yield Source("https://example.com")
    for word in (run.prompt, " ", run.user, " ", run.state):
        yield word
    await run.publish("note", {"n": 1})


async def waiting(run: Run) -> AsyncIterator[str]:
    """Wait for the messages until one ends the answer, with a checkpoint after each `save`."""
    yield f"{run.attempt}:" if run.checkpoint is None else f"{run.checkpoint}+"
    taken: list[str] = []
    for _ in range(10):
        for message in run.steering():
            taken.append(message.text)
            yield message.text
            if message.text == "save":
                await run.save("".join(taken))
            if message.text == "end":
                return
        yield "."


def waiting_in_thread(run: SyncRun) -> Iterator[str]:
    yield f"{run.attempt}:"
    for _ in range(10):
        for message in run.steering():
            yield message.text
            if message.text == "end":
                return
        yield "."


@pytest.mark.parametrize("function", [waiting, waiting_in_thread])
async def test_messages_while_it_runs(function: Callable[..., Any]) -> None:
    """Each is returned once, in order, with what was sent before the function began."""
    steering = {0: "early", 2: "first", 4: "end"}
    result = await run_producer(function, steering=steering)
    assert (result.status, result.text) == ("done", "1:early.first.end")
    sent = [data for name, data in result.events if name == "generation.steered"]
    assert [(each["n"], each["message"]["content"]) for each in sent] == [
        *enumerate(steering.values())
    ]


async def test_messages_of_a_later_attempt() -> None:
    """All of them again from the start; after a checkpoint, those that were not returned before."""
    steering = {0: "early", 2: "save", 4: "end"}
    results = await crash_at_every_part(waiting, steering=steering)
    assert [each.text for each in results[4:]] == [
        "2:earlysaveend",
        "1:early.saveearlysave+end",
        "1:early.saveearlysave+end",
    ]
    assert all(each.text.startswith("2:early") for each in results[:4])


async def calling(run: Run) -> AsyncIterator[Part]:
    for n in range(run.checkpoint or 0, 3):
        yield ToolCall("call_0", f"f{n}")
        yield ToolResult("call_0", n)
        await run.save(n + 1)


async def test_repeated_ids_of_tool_calls_after_a_checkpoint() -> None:
    """No call of a later attempt has the id of one before its checkpoint."""
    for result in await crash_at_every_part(calling):
        calls = [part for part in result.seen if part["type"] == "tool_call"]
        assert [(each["name"], each["result"]) for each in calls] == [
            (f"f{n}", n) for n in range(3)
        ]
        assert len({each["id"] for each in calls}) == 3


async def step_of(run: Run, name: str, size: int) -> int:
    async def work() -> str:
        await asyncio.sleep(0)
        return "x" * size

    return len(await run.step(name, work))


@pytest.mark.parametrize("size", [1, 100_000])
async def test_steps_at_the_same_time(size: int) -> None:
    """Several tasks may wait for the worker at once, whatever is lost in between."""

    async def answer(run: Run) -> str:
        first = await asyncio.gather(*(step_of(run, f"a{n}", size) for n in range(4)))
        second = await asyncio.gather(*(step_of(run, f"b{n}", size) for n in range(4)))
        return str(sum(first) + sum(second))

    async with asyncio.timeout(60):
        results = [await run_producer(answer), *await crash_at_every_part(answer)]
    assert {(each.status, each.text) for each in results} == {("done", str(8 * size))}
    for each in results:
        steps = [(part["name"], part["state"]) for part in each.seen if part["type"] == "step"]
        assert sorted(steps) == [(f"{a}{n}", "done") for a in "ab" for n in range(4)]


def nested(depth: int) -> Any:
    """Return lists in each other, in as many as `depth`."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [490, 510, 800, 900, *range(940, 1000, 3), 100_000])
async def test_values_that_are_nested_deep(depth: int) -> None:
    """They are refused where the function passes them on, so that no reader of them fails."""
    value = nested(depth)

    async def answer(run: Run) -> AsyncIterator[str]:
        calls: list[Callable[[], Any]] = [
            lambda: run.step("s", lambda: value),
            lambda: run.save(value),
            lambda: run.publish("n", value),
            lambda: anext(run.ask("q", x=value)),
        ]
        for call in calls:
            try:
                await call()
            except (TypeError, ValueError) as error:
                yield f"{error};"

    result = await run_producer(answer, ask="a")
    assert (result.status, result.text.count(";")) == ("done", 4 if depth > 500 else 0)
    for part in (Data("d", value), ToolResult("c", value)):

        async def one(run: Run, part: Part = part) -> Part:
            return part

        result = await run_producer(one)
        code = "producer_error" if depth > 500 else None
        assert (result.attempts, result.end.get("code")) == (1, code)


@pytest.mark.parametrize("value", ["\ud800", {"a": "\udc00"}])
async def test_values_that_no_event_holds(value: Any) -> None:
    """They are a ValueError where the function passes them on."""

    async def answer(run: Run) -> None:
        with pytest.raises(ValueError, match="data: "):
            await run.publish("n", value)
        with pytest.raises(ValueError, match="the parameters: "):
            await anext(run.ask("q", x=value))

    assert (await run_producer(answer)).status == "done"


async def test_result() -> None:
    """It has the parts, what a reader sees, the end, the attempts and the notifications."""
    result = await run_producer(support, prompt="hello", user="bob")
    assert result.parts == [
        Status("Searching"),
        Source("https://example.com"),
        Text("hello bob state"),
    ]
    assert result.text == "hello bob state"
    assert [part["type"] for part in result.seen] == ["status", "source", "text"]
    assert (result.status, result.end["finish_reason"], result.attempts) == ("done", "stop", 1)
    assert result.events[0][0] == "generation.started"
    assert result.notifications == [("note", {"n": 1})]


@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS)
async def test_stop(form: str, stop_after: int) -> None:
    """The answer is stopped after that many parts, and the function may clean up."""
    cleaned: list[str] = []

    async def answer(run: Run) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            cleaned.append("async")

    def answer_in_thread(run: SyncRun) -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            cleaned.append("sync")

    function: Any = answer if form == "async" else answer_in_thread
    result = await run_producer(function, stop_after=stop_after)
    assert (result.status, result.end["by"], result.text) == ("stopped", "alice", "x" * stop_after)
    assert cleaned == [form]


async def test_failures() -> None:
    """A failure ends the answer with its code; the text of an exception is in the result."""

    async def fails(run: Run) -> str:
        raise Failed("no_credit", "There is no credit left.")

    async def breaks(run: Run) -> str:
        raise ValueError("it broke")

    assert (await run_producer(fails)).end["code"] == "no_credit"
    result = await run_producer(breaks)
    assert (result.status, result.end["code"]) == ("failed", "producer_error")
    assert result.end["message"] == "ValueError: it broke"


@pytest.mark.parametrize("form", FORMS)
async def test_ask(form: str) -> None:
    """A fake answers what the function asks; its usage and failures are those of a real one."""

    async def answer(run: Run) -> AsyncIterator[Part | str]:
        for name in ("a", "b"):
            async for part in run.ask(f"{name} {run.prompt}", upstream=name, temperature=0):
                yield part
        try:
            async for part in run.ask("x", upstream="broken"):
                yield part
        except UpstreamFailed as error:
            yield error.code

    def answer_in_thread(run: SyncRun) -> Iterator[Part | str]:
        for name in ("a", "b"):
            yield from run.ask(f"{name} {run.prompt}", upstream=name, temperature=0)
        try:
            yield from run.ask("x", upstream="broken")
        except UpstreamFailed as error:
            yield error.code

    def fake(request: GenerationRequest) -> list[Part | str]:
        if request.upstream == "broken":
            raise UpstreamError("upstream_status", "it is overloaded", retryable=True)
        return [str(request.messages[0].content), Usage({"prompt_tokens": 5}), "|"]

    function: Any = answer if form == "async" else answer_in_thread
    result = await run_producer(function, ask=fake)
    assert result.text == "a hi|b hi|upstream_status"
    assert result.end["usage"] == {"prompt_tokens": 10}
    assert [request.params for request in result.requests[:2]] == [{"temperature": 0}] * 2
    assert (await run_producer(function, ask="yes")).text == "yesyesyes"


async def test_functions_are_not_asked() -> None:
    """The name of the function itself is refused, as in a worker."""

    async def answer(run: Run) -> None:
        async for _ in run.ask("x", upstream="function"):
            pass

    assert "which a function cannot ask" in (await run_producer(answer)).end["message"]


async def test_crash_at_every_part() -> None:
    """Each answer is lost after one part more, and every reader has the whole answer at the end."""
    results = await crash_at_every_part(support, prompt="hello")
    assert len(results) == 8  # after each of 7 parts, and before the first one
    whole = await run_producer(support, prompt="hello")
    for result in results:
        assert (result.status, result.attempts, result.seen) == ("done", 2, whole.seen)
        names = [name for name, _ in result.events]
        assert names.count("generation.restarted") == 1
        assert names.count("generation.done") == 1


async def test_crash_without_retries() -> None:
    """The answer fails, and the function is not called again."""
    results = await crash_at_every_part(support, retries=0)
    assert {(each.end["code"], each.attempts) for each in results} == {("producer_lost", 1)}


@pytest.mark.parametrize("form", FORMS)
async def test_crash_with_steps_and_checkpoints(form: str) -> None:
    """A step is called once, except where its result was lost; readers keep the saved parts."""
    calls: list[tuple[str, int, str]] = []

    def search(run: Run | SyncRun, word: str) -> str:
        calls.append((run.generation, run.attempt, word))
        return word.upper()

    async def answer(run: Run) -> AsyncIterator[str]:
        if run.checkpoint is None:
            yield await run.step("a", search, run, "a")
            await run.save("half")
        yield await run.step("b", search, run, "b")

    def answer_in_thread(run: SyncRun) -> Iterator[str]:
        if run.checkpoint is None:
            yield run.step("a", search, run, "a")
            run.save("half")
        yield run.step("b", search, run, "b")

    function: Any = answer if form == "async" else answer_in_thread
    assert (await run_producer(function)).text == "AB"
    assert len(calls) == 2
    results = await crash_at_every_part(function)
    assert len(results) >= 6
    for result in results:
        assert (result.text, result.status, result.attempts) == ("AB", "done", 2)
        names = [name for name, _ in result.events]
        begin = next(n for n in ("generation.continued", "generation.restarted") if n in names)
        first = result.events[: names.index(begin)]
        ended = {data["name"] for _, data in first if data.get("type") == "step_end"}
        again = {
            word
            for generation, attempt, word in calls
            if (generation, attempt) == (result.end["generation"], 2)
        }
        assert not again & ended, "a step whose result was stored is not called again"
    kinds = {name for each in results for name, _ in each.events}
    assert {"generation.continued", "generation.restarted"} <= kinds


async def test_deadline() -> None:
    """The time limit of the function holds."""

    @app.producer(timeout_seconds=0.01)
    async def slow(run: Run) -> None:
        assert run.deadline is not None
        await asyncio.Event().wait()

    assert (await run_producer(slow)).end["code"] == "producer_timeout"


async def refunds(run: Run) -> AsyncIterator[Part | str]:
    yield "a"
    decision = await run.input("refund", "Refund 40 €?", options=["approve", "deny"])
    yield f" {decision} {run.inputs['refund']}"


def refunds_in_a_thread(run: SyncRun) -> Iterator[Part | str]:
    yield "a"
    decision = run.input("refund", "Refund 40 €?", options=["approve", "deny"])
    yield f" {decision} {run.inputs['refund']}"


async def refunds_after_a_checkpoint(run: Run) -> AsyncIterator[Part | str]:
    if run.checkpoint is None:
        yield "a"
        await run.save(1)
    decision = await run.input("refund", "Refund 40 €?", options=["approve", "deny"])
    yield f" {decision} {run.inputs['refund']}"


async def refunds_saved_after_the_input(run: Run) -> AsyncIterator[Part | str]:
    if run.checkpoint is None:
        yield "a"
        await run.input("refund", "Refund 40 €?", options=["approve", "deny"])
        await run.save("saved")
    decision = await run.step("again", lambda: run.inputs["refund"], visible=False)
    assert [each["state"] for each in run.previous if each["type"] == "input"] in (
        [],
        ["received"],
    )
    yield f" {decision} {run.inputs['refund']}"


@pytest.mark.parametrize(
    "function",
    [refunds, refunds_in_a_thread, refunds_after_a_checkpoint, refunds_saved_after_the_input],
)
async def test_input(function: Callable[..., Any]) -> None:
    """The value is there in each attempt, wherever the first one is lost, and is given once."""
    async with asyncio.timeout(60):
        whole = await run_producer(function, inputs={"refund": "approve"})
        crashed = await crash_at_every_part(function, inputs={"refund": "approve"})
    assert whole.attempts == 1
    assert len(crashed) >= 5  # before and after the request, and after the value
    for each in (whole, *crashed):
        assert (each.status, each.text) == ("done", "a approve approve")
        (part,) = [part for part in each.seen if part["type"] == "input"]
        assert (part["state"], part["value"], part["by"]) == ("received", "approve", "alice")
        values = [data for name, data in each.events if name == "generation.input_received"]
        assert {data["value"] for data in values} == {"approve"}


async def test_input_without_a_value_expires() -> None:
    """The function decides what that means; otherwise the answer fails."""

    async def decides(run: Run) -> str:
        try:
            return str(await run.input("a", "?"))
        except InputTimeout:
            return "nobody"

    assert (await run_producer(decides)).text == "nobody"
    failed = await run_producer(refunds)
    assert (failed.status, failed.end["code"], failed.end["retryable"]) == (
        "failed",
        "input_timeout",
        True,
    )
    assert failed.seen[-1]["state"] == "expired"


@pytest.mark.parametrize("value", ["perhaps", None, ["approve"]])
async def test_input_with_a_value_that_is_no_option(value: Any) -> None:
    """The test gets the error that the user would get."""
    with pytest.raises(BadRequest, match="one of approve, deny"):
        await run_producer(refunds, inputs={"refund": value})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"key": ""}, "key of an input"),
        ({"key": "a\n"}, "control characters"),
        ({"prompt": ""}, "prompt"),
        ({"options": []}, "options"),
        ({"options": "yes"}, "options"),
        ({"schema": {"type": "nothing"}}, "JSON Schema"),
        ({"schema": {"$ref": "https://example.com/schema"}}, "refer only to itself"),
        ({"schema": [1]}, "JSON Schema"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"approvers": ["a b"]}, "no user id"),
    ],
)
async def test_wrong_input(arguments: dict[str, Any], problem: str) -> None:
    """The function gets an error that names the rule, and nothing is published."""

    async def answer(run: Run) -> str:
        with pytest.raises((ValueError, TypeError), match=problem):
            await run.input(**{"key": "a", "prompt": "?", **arguments})
        return "refused"

    result = await run_producer(answer)
    assert (result.text, len(result.seen)) == ("refused", 1)


async def test_input_is_asked_for_once_in_a_run() -> None:
    """A second request with the same key would hide that two were meant."""

    async def answer(run: Run) -> None:
        await run.input("a", "?")
        await run.input("a", "?")

    result = await run_producer(answer, inputs={"a": 1})
    assert (result.status, result.end["code"]) == ("failed", "producer_error")
    assert "twice in one run" in result.end["message"]


async def test_inputs_at_the_same_time() -> None:
    """Each task gets its own value."""

    async def answer(run: Run) -> str:
        values = await asyncio.gather(*(run.input(key, "?") for key in "abc"))
        return "".join(values)

    inputs = {key: key.upper() for key in "abc"}
    results = [await run_producer(answer, inputs=inputs)]
    results += await crash_at_every_part(answer, inputs=inputs)
    assert {each.text for each in results} == {"ABC"}


async def suspends(run: Run) -> AsyncIterator[Part | str]:
    if run.checkpoint is None:
        yield "a"
        raise Suspend("refund", "Refund 40 €?", options=["approve", "deny"], state={"n": 1})
    assert [part["state"] for part in run.previous if part["type"] == "input"] == ["received"]
    yield f" {run.inputs['refund']} {run.checkpoint['n']}"


def suspends_in_a_thread(run: SyncRun) -> Iterator[Part | str]:
    if run.checkpoint is None:
        yield "a"
        raise Suspend("refund", "Refund 40 €?", options=["approve", "deny"], state={"n": 1})
    yield f" {run.inputs['refund']} {run.checkpoint['n']}"


@pytest.mark.parametrize("function", [suspends, suspends_in_a_thread])
async def test_suspension(function: Callable[..., Any]) -> None:
    """The value begins the next attempt, which is no retry; readers keep what they have."""
    result = await run_producer(function, inputs={"refund": "approve"})
    assert (result.status, result.text, result.attempts) == ("done", "a approve 1", 2)
    names = [name for name, _ in result.events]
    assert names == [
        "generation.started",
        "generation.delta",
        "generation.input_requested",
        "generation.input_received",
        "generation.continued",
        "generation.delta",
        "generation.done",
    ]
    assert [part["type"] for part in result.seen] == ["text", "input", "text"]
    crashed = await crash_at_every_part(function, inputs={"refund": "approve"})
    assert len(crashed) >= 4
    assert {(each.status, each.text) for each in crashed} == {("done", "a approve 1")}


async def test_suspension_that_nobody_ends() -> None:
    """The answer fails when the time is over; the function is not called again."""
    result = await run_producer(suspends)
    assert (result.status, result.end["code"], result.attempts) == ("failed", "input_timeout", 1)
    assert result.seen[-1]["state"] == "expired"


async def test_suspension_for_a_value_that_is_there() -> None:
    """The function would be called again and again."""

    async def answer(run: Run) -> None:
        raise Suspend("a", "?")

    result = await run_producer(answer, inputs={"a": 1})
    assert (result.status, result.end["code"]) == ("failed", "producer_error")
    assert "run.inputs" in result.end["message"]
    assert result.attempts == 2


async def test_suspension_twice() -> None:
    """Each one has a key of its own; the state is that of the newest."""

    async def answer(run: Run) -> str:
        n = len(run.inputs)
        if n < 3:
            raise Suspend(f"k{n}", "?", state=n)
        return f"{run.checkpoint} {sorted(run.inputs)} {run.attempt}"

    result = await run_producer(answer, inputs={f"k{n}": n for n in range(3)})
    assert (result.status, result.text) == ("done", "2 ['k0', 'k1', 'k2'] 4")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"state": {1, 2}}, TypeError), ({"timeout_seconds": -1}, ValueError)],
)
async def test_wrong_suspension(arguments: dict[str, Any], error: type[Exception]) -> None:
    """The error is raised where the function would suspend."""

    async def answer(run: Run) -> str:
        with pytest.raises(error):
            raise Suspend("a", "?", **arguments)
        return "refused"

    assert (await run_producer(answer)).text == "refused"
