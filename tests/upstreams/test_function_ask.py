"""Functions that ask upstreams: the parts, the usage, failures, and what ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any

from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Reasoning, Source, Status, Text, ToolCallDelta, Usage
from hub.errors import UpstreamError
from hub.ports.upstreams import Upstream
from tests.doubles import Gate, ScriptedUpstream, settled, until
from tests.upstreams.test_function import Functions, functions, texts

FORMS = ["asks", "asks_in_thread"]
_OVERLOADED = UpstreamError(
    "upstream_status", "it is overloaded", retryable=True, status=529, reported_code="overloaded"
)


def answer(*parts: Part | list[Part] | Exception | Gate) -> ScriptedUpstream:
    return ScriptedUpstream([*parts, Finished("stop")])


def tokens(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the usage as an attempt sees it: later reports replace earlier ones."""
    usage: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Usage):
            usage |= part.tokens
    return usage


def with_asks(*asks: dict[str, Any]) -> dict[str, Any]:
    return {"asks": [{"messages": "hi", **ask} for ask in asks]}


def start(upstreams: Mapping[str, Upstream], names: Sequence[str] = FORMS, **options: Any) -> Any:
    return functions(names, upstreams=upstreams, **options)


async def test_asks() -> None:
    """The parts of several upstreams, requests, usage, tool calls and failures, in both forms."""
    upstreams = {
        "first": answer(
            Reasoning("hm"),
            [Text("a"), Source("https://example.com")],
            Usage({"prompt_tokens": 3, "completion_tokens": 1}),
            Text("b"),
            Usage({"prompt_tokens": 3, "completion_tokens": 2}),
        ),
        "second": answer(Text("c"), Usage({"prompt_tokens": 10, "completion_tokens": 20})),
        "called": answer(
            ToolCallDelta([{"index": 0, "id": "call_0", "type": "function",
                            "function": {"name": "f", "arguments": ""}}]),
            ToolCallDelta([{"index": 0, "function": {"arguments": "{}"}}]),
        ),
        "broken": ScriptedUpstream([Text("x"), Usage({"prompt_tokens": 100}), _OVERLOADED]),
        "truncated": ScriptedUpstream([Text("x")]),
        "buggy": ScriptedUpstream([ZeroDivisionError()]),
    }  # fmt: skip
    async with start(upstreams) as case:
        for form in FORMS:
            await check_answers(case, form)
            await check_failures(case, form)
    for form, first, second in zip(
        FORMS, upstreams["first"].requests, upstreams["second"].requests, strict=True
    ):
        assert first.messages == [Message("user", "hello")], form
        assert (first.upstream, first.model) == ("first", "first-model")
        assert (first.params, first.chat) == ({"temperature": 0.5}, "c")
        assert second.messages == [Message("system", "s"), Message("user")]
        assert (second.upstream, second.model, second.params) == ("second", "other", {})
    for context in upstreams["first"].contexts:
        assert context is not None
        assert context == GenerationContext(
            user="alice", generation="g1", attempt=3, chat="c", metadata=context.metadata
        )
    assert all(each.closed == len(each.requests) for each in upstreams.values())


async def check_answers(case: Functions, form: str) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user"}]
    asks = with_asks(
        {"messages": "hello", "temperature": 0.5},
        {"messages": messages, "upstream": "second", "model": "other"},
    )
    parts = await case.ask(form, metadata=asks)
    assert [part for part in parts if not isinstance(part, Usage | Text)] == [
        Reasoning("hm"), Source("https://example.com"), Finished("stop"),
    ]  # fmt: skip
    assert texts(parts) == "abc"
    assert tokens(parts) == {"prompt_tokens": 13, "completion_tokens": 22}

    parts = await case.ask(form, metadata=with_asks(*[{"upstream": "called"}] * 2))
    deltas = [call for part in parts if isinstance(part, ToolCallDelta) for call in part.calls]
    ids = [delta["id"] for delta in deltas if "id" in delta]
    assert (len(ids), len({*ids}), ids[0]) == (2, 2, "call_0")


async def check_failures(case: Functions, form: str) -> None:
    caught = await case.ask(form, metadata={**with_asks({"upstream": "broken"}), "catch": True})
    statuses = [part for part in caught if isinstance(part, Status)]
    assert statuses == [Status("upstream_status it is overloaded True 529 overloaded")]
    assert tokens(caught) == {"prompt_tokens": 100}
    for upstream, code in (
        ("broken", "upstream_status"),
        ("truncated", "upstream_truncated"),
        ("buggy", "upstream_protocol"),
    ):
        failed = await case.failure(form, metadata=with_asks({"upstream": upstream}))
        assert failed.code == code
        if failed.code == "upstream_status":
            assert (failed.message, failed.retryable) == ("it is overloaded", True)
            assert (failed.status, failed.reported_code) == (529, "overloaded")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"upstream": "asks"}, "of the kind function, which a function cannot ask; it can ask: llm"),
    ({"upstream": "nothing"}, "there is no upstream 'nothing'; a function can ask: llm"),
    ({"upstream": ""}, "there is no upstream ''"),
    ({"model": "unknown"}, "the upstream 'llm' has no model 'unknown'; it has: llm-model"),
    ({"messages": ""}, "messages is empty"),
    ({"messages": []}, "messages is empty"),
    ({"messages": [{"content": "x"}]}, "missing required field `role`"),
    ({"messages": [{"role": "user", "extra": 1}]}, "unknown field `extra`"),
    ({"messages": ["x"]}, "Expected `object`"),
    ({"messages": {"role": "user"}}, "messages must be a text or a list of messages"),
    ({"messages": 5}, "messages must be a text or a list of messages"),
    ({"upstream": 5}, "upstream must be a text or None"),
    ({"model": ["m"]}, "model must be a text or None"),
]


async def test_requests_that_are_refused() -> None:
    """Each is a ValueError or TypeError with one sentence, and no upstream is asked."""
    llm = answer(Text("a"))
    async with start({"llm": llm}) as case:
        metadata = {**with_asks(*[ask for ask, _ in REFUSED]), "catch": True}
        for form in FORMS:
            parts = await case.ask(form, metadata=metadata)
            sentences = [part.text for part in parts if isinstance(part, Status)]
            for sentence, (_, expected) in zip(sentences, REFUSED, strict=True):
                assert expected in sentence
                assert "\n" not in sentence
            failed = await case.failure(form, metadata=with_asks(REFUSED[0][0]), shows_errors=True)
            assert failed.code == "producer_error"
            assert failed.message.startswith("ValueError: run.ask: the upstream 'asks' is of the")
    assert llm.requests == []


class Counted:
    """An upstream that sends parts without end, and counts them."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = 0

    def has_closed(self, count: int) -> bool:
        return self.closed == count

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        try:
            while True:
                self.sent += 1
                yield [Text("x")]
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def test_upstream_is_read_only_as_fast_as_the_function() -> None:
    """A function that takes one part leaves the rest with the upstream."""
    upstream = Counted()
    async with start({"llm": upstream}, ["takes_one"]) as case, case.stream("takes_one") as stream:
        assert texts(await anext(stream)) == "x"
        await until(lambda: upstream.sent == 2)
        await settled()
        assert upstream.sent == 2


def waiting() -> ScriptedUpstream:
    """Return an upstream that reports its usage and then waits for ever."""
    gate = Gate()
    gate.close()
    return answer(Text("a"), Usage({"prompt_tokens": 7}), gate)


async def test_what_closes_the_connection() -> None:
    """A stop, a deadline, a lost process and the function itself close it at once."""
    upstreams: dict[str, Any] = {}
    names = [*FORMS, "asks_in_task", "drops", "drops_in_thread", "asks_and_crashes"]
    async with start(upstreams, names) as case:
        for form in (*FORMS, "asks_in_task"):  # the last one ignores the stop
            upstream = upstreams["llm"] = waiting()
            async with case.stream(form, metadata=with_asks({})) as stream:
                parts = [*await anext(stream)]
                while not (tokens(parts) and texts(parts)):
                    parts += await anext(stream)
                assert (texts(parts), tokens(parts)) == ("a", {"prompt_tokens": 7})
                assert upstream.closed == 0
            await settled()
            assert upstream.closed == 1, form
        for form in ("drops", "drops_in_thread"):  # they go on after that
            upstreams["llm"] = counted = Counted()
            async with case.stream(form) as stream:
                parts = []
                while texts(parts) != "xx":
                    parts += await anext(stream)
                await until(partial(counted.has_closed, 2))
        upstream = upstreams["llm"] = waiting()
        failed = await case.failure("asks", metadata=with_asks({}), timeout_seconds=2.0)
        assert failed.code == "producer_timeout"
        await settled()
        assert upstream.closed == 1
        upstream = upstreams["llm"] = waiting()
        failed = await case.failure("asks_and_crashes")
        assert failed.code == "producer_lost"
        await settled()
        assert upstream.closed == 1


async def test_own_usage_is_added() -> None:
    """What a function reports of its own calls is added to what it asked."""
    llm = answer(Text("a"), Usage({"prompt_tokens": 5, "completion_tokens": 5}))
    async with start({"llm": llm}, ["reports_usage"]) as case:
        parts = await case.ask("reports_usage")
    assert tokens(parts) == {"prompt_tokens": 6, "completion_tokens": 7}
