"""The events of AG-UI agents as parts."""

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
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    StepEnd,
    StepStart,
    Text,
)
from hub.errors import UpstreamError
from hub.upstreams.ag_ui.dialect import AgUi
from tests.upstreams.agent_kit import REQUEST, call_entry, fold, read, usage_of

AGENT = AgUi({})
STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}


def text(delta: str, id_: str = "m") -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": delta}


def message(*deltas: str, id_: str = "m", role: str = "assistant") -> list[dict[str, Any]]:
    start = {"type": "TEXT_MESSAGE_START", "messageId": id_, "role": role}
    end = {"type": "TEXT_MESSAGE_END", "messageId": id_}
    return [start, *(text(delta, id_) for delta in deltas), end]


def call(id_: str, name: str, *deltas: str) -> list[dict[str, Any]]:
    start = {"type": "TOOL_CALL_START", "toolCallId": id_, "toolCallName": name}
    arguments = [{"type": "TOOL_CALL_ARGS", "toolCallId": id_, "delta": each} for each in deltas]
    return [start, *arguments, {"type": "TOOL_CALL_END", "toolCallId": id_}]


def result(id_: str, content: Any, **fields: Any) -> dict[str, Any]:
    head = {"type": "TOOL_CALL_RESULT", "toolCallId": id_, "messageId": f"{id_}-result"}
    return {**head, "content": content, **fields}


RUN = [
    STARTED,
    *message("Let me look. "),
    *call("c", "find", '{"q":', '"tea"}'),
    result("c", '{"hits":2}'),
    *message("Two ", "hits.", id_="n"),
    FINISHED,
]


def snapshot(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"type": "MESSAGES_SNAPSHOT", "messages": [*messages]}


def test_tool_of_the_agent() -> None:
    """The agent runs its tools, so the answer ends as any other."""
    parts = read(AGENT, *RUN)
    assert parts[-1] == Finished("stop")
    entry = {**call_entry("c", "find", '{"q":"tea"}'), "result": {"hits": 2}, "is_error": False}
    assert fold(parts) == [
        {"type": "text", "text": "Let me look. "},
        entry,
        {"type": "text", "text": "Two hits."},
    ]


def test_tool_of_the_client() -> None:
    """A tool that the client offered is its own, and so is a call that the agent leaves to it."""
    parts = read(AGENT, *call("c", "open"), FINISHED)
    assert parts[-1] == Finished("tool_calls")
    assert fold(parts) == [call_entry("c", "open", run_by="client")]
    outcome = {"type": "success", "pendingToolCallIds": ["d"]}
    parts = read(AGENT, *call("c", "find"), *call("d", "pay"), {**FINISHED, "outcome": outcome})
    assert parts[-1] == Finished("tool_calls")
    assert [each["run_by"] for each in fold(parts)] == ["producer", "client"]
    parts = read(AGENT, *call("c", "open"), result("c", "ok"), FINISHED)  # the agent ran it
    assert parts[-1] == Finished("stop")
    assert fold(parts)[0]["run_by"] == "producer"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", "plain"),
        ("5", "5"),
        ("[1, 2]", [1, 2]),
        ("{not JSON", "{not JSON"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "image", "source": {}}], [{"type": "image", "source": {}}]),
        (None, None),
    ],
)
def test_results(content: Any, expected: Any) -> None:
    """Objects and lists come as their JSON, and media as content parts."""
    entry = fold(read(AGENT, *call("c", "find"), result("c", content), FINISHED))[0]
    assert (entry["result"], entry["is_error"]) == (expected, False)
    failed = result("c", content, error="it broke")
    assert fold(read(AGENT, *call("c", "find"), failed, FINISHED))[0]["is_error"] is True


def test_result_of_an_unknown_call() -> None:
    """It is kept as a part of its own."""
    assert fold(read(AGENT, result("x", "a"), FINISHED)) == [
        {"type": "tool_result", "id": "x", "result": "a", "is_error": False}
    ]


def test_ids_that_come_again() -> None:
    """Some agents number the calls of each step anew; every call has its own result."""
    parts = read(
        AGENT,
        *call("0", "find", '{"q":1}'),
        result("0", "one"),
        *call("0", "find", '{"q":2}'),
        result("0", "two"),
        FINISHED,
    )
    entries = fold(parts)
    assert [(each["arguments"], each["result"]) for each in entries] == [
        ('{"q":1}', "one"),
        ('{"q":2}', "two"),
    ]
    assert len({each["id"] for each in entries}) == 2


def test_chunks() -> None:
    """Chunks stand for start, content and end; one without an id continues the newest."""
    parts = read(
        AGENT,
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "role": "assistant", "delta": "a"},
        {"type": "TEXT_MESSAGE_CHUNK", "delta": "b"},
        {"type": "REASONING_MESSAGE_CHUNK", "messageId": "r", "delta": "hm"},
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "find", "delta": '{"q":'},
        {"type": "TOOL_CALL_CHUNK", "delta": "1}"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "u", "role": "user", "delta": "not this"},
        FINISHED,
    )
    assert fold(parts) == [
        {"type": "text", "text": "ab"},
        {"type": "reasoning", "text": "hm"},
        call_entry("c", "find", '{"q":1}'),
    ]


def test_messages_that_are_no_answer() -> None:
    """The text of messages of other roles is not the answer's."""
    parts = read(AGENT, *message("x", id_="u", role="user"), *message("a"), FINISHED)
    assert fold(parts) == [{"type": "text", "text": "a"}]


USER = {"id": "msg_0", "role": "user", "content": "hi"}
ANSWER = {"id": "m", "role": "assistant", "content": "Hello"}
CALLING = {
    "id": "p",
    "role": "assistant",
    "toolCalls": [{"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
}
RESULT = {"id": "q", "role": "tool", "toolCallId": "c", "content": "[1]"}
THINKING = {"id": "o", "role": "reasoning", "content": "hm"}


def test_answer_that_only_a_snapshot_has() -> None:
    """A snapshot of the messages is read where nothing was streamed; older messages are not."""
    older = [{"id": "server-1", "role": "assistant", "content": "Yesterday"}]
    parts = read(AGENT, snapshot(*older, USER, THINKING, CALLING, RESULT, ANSWER), FINISHED)
    entry = {**call_entry("c", "find"), "result": [1], "is_error": False}
    folded = fold(parts)
    assert sorted(folded, key=str) == sorted(
        [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Hello"}, entry], key=str
    )


@pytest.mark.parametrize(
    ("before", "messages", "expected"),
    [
        (message("Hello"), [USER, ANSWER], "Hello"),  # it repeats what was streamed
        (message("Hello"), [ANSWER], "Hello"),
        (message("Hel"), [USER, ANSWER], "Hello"),  # it has more
        (message("Hello")[:-1], [USER], "Hello"),  # an open message may be missing
        (message("Hello")[:-1], [USER, {**ANSWER, "content": "He"}], "Hello"),
        (message("Help"), [USER, ANSWER], "Hello"),  # it has another text
        (message("Hello"), [USER], ""),  # the answer was taken back
        ([*message("a"), *message("b", id_="n")], [USER, {**ANSWER, "id": "n"}], "Hello"),
    ],
)
def test_snapshot_of_messages(
    before: list[dict[str, Any]], messages: list[dict[str, Any]], expected: str
) -> None:
    """A snapshot says what the messages are, and text after it follows them."""
    folded = fold(read(AGENT, *before, snapshot(*messages), *message("!", id_="z"), FINISHED))
    assert "".join(each["text"] for each in folded) == expected + "!"
    folded = fold(read(AGENT, *before, snapshot(*messages), FINISHED))
    assert "".join(each["text"] for each in folded) == expected


@pytest.mark.parametrize("cut", range(6))
def test_call_that_is_repeated_after_a_snapshot_without_it(cut: int) -> None:
    """The arguments are complete and there once, wherever they were taken back."""
    start = {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "open"}
    deltas = [{"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": each} for each in '{"a":1}']
    end = {"type": "TOOL_CALL_END", "toolCallId": "c"}
    events = [start, *deltas, end]
    folded = fold(read(AGENT, *events[: 1 + 2 * cut], snapshot(USER), *events, FINISHED))
    calls = [(each["name"], each["arguments"]) for each in folded]
    assert calls == [("open", '{"a":1}')]


def test_state_and_activities() -> None:
    """An activity is data with the id of its message, and a patch changes its content."""
    plan = {"type": "ACTIVITY_SNAPSHOT", "messageId": "v", "activityType": "plan"}
    patch = [{"op": "add", "path": "/steps/-", "value": "b"}]
    bad = [{"op": "remove", "path": "/nothing"}]
    parts = read(
        AGENT,
        {"type": "STATE_DELTA", "delta": patch},
        {**plan, "content": {"steps": ["a"]}},
        {**plan, "type": "ACTIVITY_DELTA", "patch": patch},
        {**plan, "type": "ACTIVITY_DELTA", "patch": bad},
        {"type": "CUSTOM", "name": "state", "value": 1},
        {"type": "CUSTOM", "name": "progress", "value": 0.5},
        {"type": "RAW", "event": {"a": 1}},
        {**FINISHED, "result": {"ok": True}},
    )
    assert [part for part in parts if isinstance(part, Data)] == [
        Data("state_delta", patch, "0"),
        Data("plan", {"steps": ["a"]}, "v"),
        Data("plan", {"steps": ["a", "b"]}, "v"),
        Data("custom_state", 1),
        Data("progress", 0.5),
        Data("result", {"ok": True}),
    ]


def test_steps_and_subagents() -> None:
    """A subagent is a step, and what it says belongs to the answer."""
    message_ = {**text("found", "s"), "subagentRunId": "1"}
    started = {"type": "SUBAGENT_STARTED", "subagentRunId": "1", "name": "researcher"}
    parts = read(
        AGENT,
        {"type": "STEP_STARTED", "stepName": "plan"},
        started,
        message_,
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "1"},
        {"type": "STEP_FINISHED", "stepName": "plan"},
        FINISHED,
    )
    assert parts == [
        *[StepStart("plan"), StepStart("researcher"), Text("found")],
        *[StepEnd("researcher"), StepEnd("plan"), Finished("stop")],
    ]


def test_usage() -> None:
    """The counts of all models are added up, under OpenAI's names."""
    counts = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, "cachedInputTokens": 1}
    usage = [{"model": "a", **counts}, {"model": "b", **counts, "reasoningTokens": 1}]
    assert usage_of(read(AGENT, {**FINISHED, "usage": usage})) == {
        "prompt_tokens": 6,
        "completion_tokens": 4,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


@pytest.mark.parametrize(
    ("end", "message_", "code"),
    [
        ({"type": "RUN_ERROR", "message": "no memory", "code": "oom"}, "no memory", "oom"),
        ({**FINISHED, "outcome": {"type": "cancelled"}}, "the run was cancelled", None),
        ({"error": {"message": "bad gateway"}}, "bad gateway", None),
    ],
)
def test_failures(end: dict[str, Any], message_: str, code: str | None) -> None:
    """An error of the agent is a failure with its words, and a cancelled run is one as well."""
    with pytest.raises(UpstreamError, match=message_) as caught:
        read(AGENT, *RUN[:-1], end)
    assert (caught.value.code, caught.value.reported_code) == ("upstream_error", code)


APPROVAL_SCHEMA = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"id": "i1", "reason": "tool_call", "message": "Refund 40 €?", "toolCallId": "c",
             "responseSchema": APPROVAL_SCHEMA},
            Interrupt(id="i1", prompt="Refund 40 €?", tool_call="c", is_approval=True,
                      schema=APPROVAL_SCHEMA),
        ),
        (
            {"id": "i1", "reason": "date", "responseSchema": {"type": "string"}},
            Interrupt(id="i1", prompt="date", schema={"type": "string"}),
        ),
        ({"id": "i1", "message": 5, "responseSchema": True},
         Interrupt(id="i1", prompt="The agent asks for a decision.")),
    ],
)  # fmt: skip
def test_interrupts(given: dict[str, Any], expected: Interrupt) -> None:
    """An interrupt says what the agent needs; the parts before it remain."""
    end = {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [given]}}
    with pytest.raises(UpstreamInterrupted, match="asks for a decision") as caught:
        read(AGENT, *RUN[:-1], end)
    assert caught.value.interrupts == [expected]
    assert (caught.value.code, caught.value.retryable) == ("upstream_interrupted", False)
    for odd in (None, [], "x", [5]):
        with pytest.raises(UpstreamInterrupted):
            read(AGENT, {**FINISHED, "outcome": {"type": "interrupt", "interrupts": odd}})


def test_what_the_vendor_needs_back() -> None:
    """Encrypted reasoning comes with the next request, in the place where it was."""
    reasoning = {"messageId": "r", "delta": "hm"}
    parts = read(
        AGENT,
        {"type": "REASONING_MESSAGE_CONTENT", **reasoning},
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "r",
         "encryptedValue": "secret"},
        *call("c", "open"),
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "tool-call", "entityId": "c",
         "encryptedValue": "signature"},
        FINISHED,
    )  # fmt: skip
    assert parts[0] == Reasoning("hm")
    details = next(part for part in parts if isinstance(part, ReasoningDetails)).details
    entry = fold(parts)[1]
    assert entry["extras"] == {"encrypted_value": "signature"}
    function = {"name": "open", "arguments": "{}"}
    answer = Message(
        "assistant",
        tool_calls=[{"id": "c", "type": "function", "function": function, **entry["extras"]}],
        reasoning_content="hm",
        reasoning_details=details,
    )
    request = msgspec.structs.replace(REQUEST, messages=[*REQUEST.messages, answer])
    sent = AGENT.build_request(request).body["messages"][1:]
    assert sent[0] == {
        "id": "r",
        "role": "reasoning",
        "content": "hm",
        "encryptedValue": "secret",
    }
    assert sent[1]["toolCalls"][0]["encryptedValue"] == "signature"


@given(st.permutations(RUN[:-1]))
def test_events_in_any_order(events: list[dict[str, Any]]) -> None:
    """No text is lost, and each call has its name, its arguments and its result."""
    try:
        folded = fold(read(AGENT, *events, FINISHED))
    except UpstreamError as error:
        pytest.fail(error.message)
    texts = [each["text"] for each in folded if each["type"] == "text"]
    assert sorted("".join(texts)) == sorted("Let me look. Two hits.")
    entries = [each for each in folded if each["type"] == "tool_call"]
    assert "find" in [each["name"] for each in entries]


@given(st.integers(0, len(RUN) - 1))
def test_run_without_an_end(count: int) -> None:
    """A run that ends anywhere before its end is truncated."""
    with pytest.raises(UpstreamError) as caught:
        read(AGENT, *RUN[:count])
    assert caught.value.code == "upstream_truncated"


def test_parts_are_streamed() -> None:
    """Each part is there as soon as its event is."""
    seen: list[Part] = read(AGENT, *RUN)
    assert [part for part in seen if isinstance(part, Text)] == [
        Text("Let me look. "),
        Text("Two "),
        Text("hits."),
    ]
