"""The chunks of the AI SDK's UI message streams as parts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.generation import Message
from hub.core.interrupts import Interrupt, UpstreamInterrupted
from hub.core.parts import (
    Data,
    File,
    Finished,
    Reasoning,
    ReasoningDetails,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
)
from hub.errors import UpstreamError
from hub.upstreams.ai_sdk.dialect import AiSdk
from tests.upstreams.agent_kit import REQUEST, call_entry, fold, read, usage_of

SERVER = AiSdk({})
FINISH = {"type": "finish", "finishReason": "stop"}


def text(*deltas: str, id_: str = "t") -> list[dict[str, Any]]:
    chunks = [{"type": "text-delta", "id": id_, "delta": delta} for delta in deltas]
    return [{"type": "text-start", "id": id_}, *chunks, {"type": "text-end", "id": id_}]


def call(id_: str, name: str, value: Any, *deltas: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a call. deltas: the JSON of its input, if it is streamed."""
    head = {"toolCallId": id_, "toolName": name, **fields}
    more = [{"type": "tool-input-delta", "toolCallId": id_, "inputTextDelta": d} for d in deltas]
    start = [{"type": "tool-input-start", **head}, *more] if deltas else []
    return [*start, {"type": "tool-input-available", **head, "input": value}]


def output(id_: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool-output-available", "toolCallId": id_, "output": value, **fields}


STREAM = [
    {"type": "start", "messageId": "m"},
    {"type": "start-step"},
    *text("Let me look. "),
    *call("c", "find", {"q": "tea"}, '{"q":', '"tea"}'),
    output("c", {"hits": 2}),
    {"type": "finish-step"},
    {"type": "start-step"},
    *text("Two ", "hits.", id_="u"),
    {"type": "finish-step"},
    FINISH,
]


def test_steps_with_a_tool() -> None:
    """The server runs its tools; the steps after the first one are numbered."""
    parts = read(SERVER, *STREAM)
    assert parts[-1] == Finished("stop")
    entry = {**call_entry("c", "find", '{"q":"tea"}'), "result": {"hits": 2}, "is_error": False}
    assert fold(parts) == [
        {"type": "text", "text": "Let me look. "},
        entry,
        {"type": "step", "name": "step 2", "state": "done"},
        {"type": "text", "text": "Two hits."},
    ]


@pytest.mark.parametrize("reason", ["stop", "tool-calls"])
@pytest.mark.parametrize("name", ["open", "confirm"])
def test_tool_of_the_client(name: str, reason: str) -> None:
    """A call without a result is the client's, whether the client or the server named the tool."""
    parts = read(SERVER, *call("c", name, {"q": 1}), {**FINISH, "finishReason": reason})
    assert parts[-1] == Finished("tool_calls")
    assert fold(parts) == [call_entry("c", name, '{"q":1}', run_by="client")]


def test_tool_of_the_provider() -> None:
    """What a provider runs is never left to the client, also without a result."""
    parts = read(SERVER, *call("c", "search", {}, providerExecuted=True), FINISH)
    assert parts[-1] == Finished("stop")
    assert fold(parts) == [call_entry("c", "search")]


def test_last_step_that_calls_a_tool() -> None:
    """A server that stops after its tools have run leaves nothing to the client."""
    end = {**FINISH, "finishReason": "tool-calls"}
    assert read(SERVER, *STREAM[:10], end)[-1] == Finished("stop")


def test_results() -> None:
    """Preliminary results take each other's place; errors and refused calls are errors."""
    error = {"type": "tool-output-error", "toolCallId": "d", "errorText": "it broke"}
    invalid = {"type": "tool-input-error", "toolCallId": "f", "toolName": "find", "input": "{q",
               "errorText": "no JSON"}  # fmt: skip
    parts = read(
        SERVER,
        *call("c", "find", {}),
        *[output("c", "half", preliminary=True), output("c", "all")],
        *[*call("d", "find", {}), error],
        *[*call("e", "find", {}), {"type": "tool-output-denied", "toolCallId": "e"}],
        invalid,
        {**FINISH, "finishReason": "tool-calls"},
    )
    assert parts[-1] == Finished("stop")
    assert [(each["arguments"], each["result"], each["is_error"]) for each in fold(parts)] == [
        ("{}", "all", False),
        ("{}", "it broke", True),
        ("{}", "Tool call execution denied.", True),
        ("{q", "no JSON", True),
    ]


def test_other_parts() -> None:
    """Sources, files, status and data have their parts; chunks of unknown types have none."""
    parts = read(
        SERVER,
        {"type": "source-url", "sourceId": "s", "url": "https://a.example", "title": "A"},
        {"type": "source-document", "sourceId": "d", "mediaType": "text/plain", "title": "D"},
        {"type": "file", "url": "https://a.example/a.png", "mediaType": "image/png"},
        {"type": "file", "url": "data:image/png;base64,aGk=", "mediaType": "image/png"},
        {"type": "file", "url": "data:text/plain,hi", "mediaType": "text/plain"},
        {"type": "data-status", "data": {"text": "Searching"}, "transient": True},
        {"type": "data-weather", "id": "w", "data": {"t": 20}},
        {"type": "data-tick", "data": 1, "transient": True},
        {"type": "custom", "kind": "openai.compaction"},
        {"type": "brand-new", "delta": {"a": 1}},
        FINISH,
    )
    assert parts == [
        Source("https://a.example", "A", "s"),
        Data("source-document", {"mediaType": "text/plain", "title": "D"}, "d"),
        File(url="https://a.example/a.png", media_type="image/png"),
        File(data="aGk=", media_type="image/png"),
        File(url="data:text/plain,hi", media_type="text/plain"),
        Status("Searching"),
        Data("weather", {"t": 20}, "w"),
        Data("tick", 1, transient=True),
        Data("custom", {"kind": "openai.compaction", "providerMetadata": {}}),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    "usage",
    [
        {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "reasoningTokens": 1,
         "cachedInputTokens": 2},
        {"inputTokens": 3, "inputTokenDetails": {"cacheReadTokens": 2}, "outputTokens": 2,
         "outputTokenDetails": {"reasoningTokens": 1}, "totalTokens": 5},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["usage", "totalUsage"])
def test_metadata(name: str, usage: dict[str, Any]) -> None:
    """The usage is where servers put it: in the metadata of the message, whose rest is data."""
    parts = read(
        SERVER,
        {"type": "start", "messageMetadata": {"model": "m"}},
        {**FINISH, "messageMetadata": {name: usage, "seconds": 2}},
    )
    assert usage_of(parts) == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert [each["value"] for each in fold(parts)] == [{"model": "m", "seconds": 2}]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"type": "error", "errorText": "An error occurred."}, "An error occurred."),
        ({"type": "error"}, "the upstream failed"),
        ({"type": "abort", "reason": "too long"}, "too long"),
        ({"type": "abort"}, "the server aborted the answer"),
        ({"type": "finish", "finishReason": "error"}, "ended the answer with an error"),
    ],
)
def test_failures(end: dict[str, Any], message: str) -> None:
    """An error and an abort are failures with the words of the server."""
    with pytest.raises(UpstreamError, match=message) as caught:
        read(SERVER, *STREAM[:-1], end)
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content-filter", "content_filter"),
        ("other", "other"),
        (None, "stop"),
    ],
)
def test_finish_reasons(reason: str | None, expected: str) -> None:
    """The reasons have the words of chat completions; version 5 sends none."""
    end = {"type": "finish", "finishReason": reason}
    assert read(SERVER, *text("a"), end)[-1] == Finished(expected)


def test_several_streams_in_one() -> None:
    """A server may merge streams, each of which finishes: all of them count."""
    parts = read(SERVER, *text("a"), FINISH, *text("b", id_="u"), FINISH)
    assert [part for part in parts if isinstance(part, Text)] == [Text("a"), Text("b")]
    assert parts[-1] == Finished("stop")


def test_repeated_step() -> None:
    """A step that the server repeats takes back its text, and its calls have no result."""
    parts = read(
        SERVER,
        *[{"type": "start-step"}, *text("One. "), {"type": "finish-step"}, {"type": "start-step"}],
        *[*text("Tw", id_="u"), *call("c", "find", {}), {"type": "reset-step"}],
        *[*text("Two.", id_="v"), {"type": "finish-step"}, FINISH],
    )
    folded = fold(parts)
    assert "".join(each["text"] for each in folded if each["type"] == "text") == "One. Two."
    assert next(each for each in folded if each["type"] == "tool_call")["is_error"] is True
    assert parts[-1] == Finished("stop")


def test_steps_in_steps() -> None:
    """A step ends where it began, and one end too many is no part."""
    chunks = [{"type": f"{word}-step"} for word in ("start", "start", "finish", "finish", "finish")]
    assert read(SERVER, *chunks, FINISH) == [
        StepStart("step 2"),
        StepEnd("step 2"),
        Finished("stop"),
    ]


def test_approvals() -> None:
    """A call that a person must approve ends the answer, unless that is decided already."""
    ask = {"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c", "signature": "s"}
    end = {**FINISH, "finishReason": "tool-calls"}
    with pytest.raises(UpstreamInterrupted) as caught:
        read(SERVER, *call("c", "refund", {"euros": 40}), ask, end)
    assert caught.value.interrupts == [
        Interrupt(
            id="a1",
            prompt='Approve refund({"euros":40})?',
            tool_call="c",
            is_approval=True,
            fields={"signature": "s"},
        )
    ]
    response = {"type": "tool-approval-response", "approvalId": "a1", "approved": True}
    for decided in ([response], [output("c", "done")], [{**ask, "isAutomatic": True}]):
        request = [] if "isAutomatic" in decided[0] else [ask]
        parts = read(SERVER, *call("c", "refund", {}), *request, *decided, output("c", 1), FINISH)
        assert parts[-1] == Finished("stop")


def test_approval_that_was_given() -> None:
    """The next request has the decision in the part of the call."""
    function = {"name": "refund", "arguments": "{}"}
    approval = {"id": "a1", "approved": True}
    call_ = {"id": "c", "type": "function", "function": function, "approval": approval}
    messages = [*REQUEST.messages, Message("assistant", tool_calls=[call_])]
    request = msgspec.structs.replace(REQUEST, messages=messages)
    part = SERVER.build_request(request).body["messages"][1]["parts"][1]
    assert (part["state"], part["approval"]) == ("approval-responded", approval)


def test_what_the_provider_needs_back() -> None:
    """Provider metadata of reasoning and of calls comes with the next request."""
    signature, item = {"google": {"sig": "s"}}, {"openai": {"itemId": "r1"}}
    parts = read(
        SERVER,
        {"type": "reasoning-start", "id": "r"},
        {"type": "reasoning-delta", "id": "r", "delta": "hm"},
        {"type": "reasoning-end", "id": "r", "providerMetadata": item},
        *call("c", "open", {"q": 1}, providerMetadata=signature),
        FINISH,
    )
    assert parts[0] == Reasoning("hm")
    details = next(part for part in parts if isinstance(part, ReasoningDetails)).details
    entry = fold(parts)[1]
    function = {"name": "open", "arguments": '{"q":1}'}
    call_ = {"id": "c", "type": "function", "function": function, **entry["extras"]}
    answer = Message(
        "assistant", tool_calls=[call_], reasoning_content="hm", reasoning_details=details
    )
    messages = [*REQUEST.messages, answer, Message("tool", '{"done":true}', tool_call_id="c")]
    request = msgspec.structs.replace(REQUEST, messages=messages)
    assert SERVER.build_request(request).body["messages"][1]["parts"] == [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done", "providerMetadata": item},
        {
            "type": "tool-open",
            "toolCallId": "c",
            "input": {"q": 1},
            "callProviderMetadata": signature,
            "state": "output-available",
            "output": {"done": True},
        },
    ]


@given(st.permutations(STREAM[:-1]))
def test_chunks_in_any_order(chunks: list[dict[str, Any]]) -> None:
    """No text is lost, and each call has its name and its result."""
    folded = fold(read(SERVER, *chunks, FINISH))
    texts = [each["text"] for each in folded if each["type"] == "text"]
    assert sorted("".join(texts)) == sorted("Let me look. Two hits.")
    assert "find" in [each.get("name") for each in folded if each["type"] == "tool_call"]


@given(st.integers(0, len(STREAM) - 1))
def test_stream_without_an_end(count: int) -> None:
    """A stream that ends anywhere before its end is truncated."""
    with pytest.raises(UpstreamError) as caught:
        read(SERVER, *STREAM[:count])
    assert caught.value.code == "upstream_truncated"


def test_stream_without_a_finish() -> None:
    """A route that writes its own parts ends with `[DONE]` alone, which the SDK adds."""
    assert read(SERVER, *text("a"), "[DONE]") == [Text("a"), Finished("stop")]
    assert read(SERVER, *call("c", "open", {}), "[DONE]")[-1] == Finished("tool_calls")
    ended = read(SERVER, *text("a"), {**FINISH, "finishReason": "length"}, "[DONE]")
    assert ended[-1] == Finished("length")
