"""The items of a streamed response, and the tool calls of a chat completion, follow each other, as
clients of OpenAI's server expect it.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.answer_state import AnswerCollector
from hub.compat.openai_responses.requests import read_responses
from hub.core.sse_decoder import SseDecoder
from tests.compat.history import (
    DETAILS,
    DONE,
    ENCODERS,
    RECORD,
    STARTED,
    STOPPED,
    Event,
    encode_all,
    histories,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)
from tests.properties import limit_examples

Chunk = dict[str, Any]
_ARGUMENTS = ('{"a":1}', "{}", '{"b":{"c":"}"}}', "")


def stream(events: list[Event], encoder: str = "responses") -> list[Chunk]:
    """Return the events that a client gets, without `[DONE]`."""
    text = b"".join(encode_all(ENCODERS[encoder](), events))
    data = [event.data for event in SseDecoder().feed(text)]
    return [json.loads(each) for each in data if each != "[DONE]"]


def chat_calls(chunks: list[Chunk]) -> list[Chunk]:
    """Return the tool calls of a chat completion as LlamaIndex builds them: it reads one call of
    each chunk, and adds arguments to the newest call.
    """
    calls: list[Chunk] = []
    for delta in (choice["delta"] for chunk in chunks for choice in chunk["choices"]):
        for call in delta.get("tool_calls", ())[:1]:
            if not calls or calls[-1]["index"] != call["index"]:
                calls.append(call)
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    return calls


def items_of(chunks: list[Chunk]) -> list[Chunk]:
    """Return the items as a client builds them that knows only the newest item.

    Fail if an event belongs to another item, or if an item begins before the one before it ended.
    """
    items: list[Chunk] = []
    is_open = False
    for chunk in chunks:
        match chunk["type"].removeprefix("response."):
            case "output_item.added":
                assert not is_open
                is_open = True
                items.append({**chunk["item"], "text": ""})
            case "output_item.done":
                is_open = False
                assert chunk["item"]["id"] == items[-1]["id"]
                items[-1] = {**chunk["item"], "text": items[-1]["text"]}
            case kind if kind.endswith(".delta"):
                items[-1]["text"] += chunk["delta"]
        if "output_index" in chunk:
            assert chunk["output_index"] == len(items) - 1
    assert not is_open
    return items


@st.composite
def alternating_calls(draw: st.DrawFn) -> list[Event]:
    """Draw calls whose arguments arrive in parts, in any order, after reasoning and text."""
    calls = draw(st.lists(st.sampled_from(_ARGUMENTS), min_size=1, max_size=3))
    parts = [
        [tool_call_delta(n, part) for part in draw(_split(arguments))]
        for n, arguments in enumerate(calls)
    ]
    first = [tool_call_delta(n, "", id=f"c{n}", name=f"f{n}") for n in range(len(calls))]
    order = draw(st.permutations([n for n, each in enumerate(parts) for _ in each]))
    head = draw(st.lists(st.sampled_from([reasoning_delta("hm"), text_delta("a"), DETAILS])))
    return [STARTED, *head, *first, *(parts[n].pop(0) for n in order)]


def _split(text: str) -> st.SearchStrategy[list[str]]:
    cuts = st.lists(st.integers(0, len(text)), max_size=3).map(sorted)
    return cuts.map(lambda at: [text[i:j] for i, j in pairwise([0, *at, len(text)])])


@given(alternating_calls(), st.sampled_from([[], [text_delta("b")]]))
@settings(max_examples=limit_examples(60), deadline=None)
def test_items_follow_each_other(events: list[Event], more: list[Event]) -> None:
    """A client that adds each delta to the newest item gets every call whole, in every order."""
    events = [*events, DONE]
    items = items_of(stream(events))
    collected = AnswerCollector(RECORD)
    encode_all(collected, events)
    calls = [item for item in items if item["type"] == "function_call"]
    assert [(call["call_id"], call["arguments"], call["text"]) for call in calls] == [
        (call.id, call.arguments, call.arguments) for call in collected.answer.tool_calls
    ]
    texts = "".join(item["text"] for item in items if item["type"] == "message")
    assert texts == collected.answer.text


@given(alternating_calls())
@settings(max_examples=limit_examples(60), deadline=None)
def test_calls_of_a_chat_completion_follow_each_other(events: list[Event]) -> None:
    """A client that reads one call of each chunk gets every call whole, in every order."""
    events = [*events, DONE]
    collected = AnswerCollector(RECORD)
    encode_all(collected, events)
    sent = chat_calls(stream(events, "chat"))
    assert [call["index"] for call in sent] == list(range(len(sent)))
    assert [(call["id"], call["function"]) for call in sent] == [
        (call.id, {"name": call.name, "arguments": call.arguments})
        for call in collected.answer.tool_calls
    ]


def test_fields_of_a_call_that_come_late() -> None:
    """A field that comes with the second delta of a call is sent once, whatever call is current."""
    signature = {"extra_content": {"google": {"thought_signature": "s"}}}
    events = [
        STARTED,
        tool_call_delta(0, "{}", id="c0", name="f"),
        tool_call_delta(1, '{"b":', id="c1", name="f"),
        tool_call_delta(0, "", **signature),
        tool_call_delta(1, "1}", **signature),
        DONE,
    ]
    deltas = [
        call
        for chunk in stream(events, "chat")
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert [(call["index"], call.get("extra_content")) for call in deltas] == [
        *((0, None), (1, None), (0, signature["extra_content"])),
        *((1, signature["extra_content"]),),
    ]
    assert "".join(call["function"]["arguments"] for call in deltas) == '{}{"b":1}'


@given(histories)
@settings(max_examples=limit_examples(60), deadline=None)
def test_every_item_ends(events: list[Event]) -> None:
    """Whatever an upstream sends, each item of a response ends once, and before the response."""
    chunks = stream(events)
    added = [chunk["item"]["id"] for chunk in chunks if chunk["type"].endswith("item.added")]
    done = [chunk["item"]["id"] for chunk in chunks if chunk["type"].endswith("item.done")]
    assert len(set(added)) == len(added)
    if chunks and chunks[-1]["type"] in ("response.completed", "response.incomplete"):
        assert sorted(done) == sorted(added)
        assert [item["id"] for item in chunks[-1]["response"]["output"]] == added


def test_reasoning_ends_before_a_call() -> None:
    """Clients put an item where it ends: reasoning must not end after the call that it led to."""
    call = tool_call_delta(0, "{}", id="c", name="f")
    chunks = stream([STARTED, DETAILS, reasoning_delta("hm"), DETAILS, call, DONE])
    ends = [chunk["item"] for chunk in chunks if chunk["type"].endswith("item.done")]
    assert [item["type"] for item in ends] == ["reasoning", "function_call"]
    assert len(ends[0]["reasoning_details"]) == 2
    added = next(chunk["item"] for chunk in chunks if chunk["type"].endswith("item.added"))
    assert len(added["reasoning_details"]) == 1


def test_second_call_is_streamed_when_the_first_is_complete() -> None:
    """Arguments that follow each other are not held back."""
    events = [
        STARTED,
        tool_call_delta(0, '{"a":', id="c0", name="f"),
        tool_call_delta(0, "1}"),
        tool_call_delta(1, '{"b":', id="c1", name="f"),
    ]
    deltas = [chunk["delta"] for chunk in stream(events) if "delta" in chunk]
    assert deltas == ['{"a":', "1}", '{"b":']


def test_stopped_calls() -> None:
    """A call that broke off is incomplete; one that had to wait for it does not begin."""
    events = [
        STARTED,
        tool_call_delta(0, '{"a":', id="c0", name="f"),
        tool_call_delta(1, '{"b":', id="c1", name="f"),
        STOPPED,
    ]
    (item,) = items_of(stream(events))
    assert (item["call_id"], item["status"]) == ("c0", "incomplete")


@pytest.mark.parametrize("with_result", [True, False])
def test_text_after_a_call_goes_back_as_one_message(with_result: bool) -> None:
    """Upstreams want the results right behind the message that has the calls."""
    call = tool_call_delta(0, "{}", id="c", name="f")
    output = stream([STARTED, text_delta("a"), call, text_delta("b"), DONE])[-1]["response"][
        "output"
    ]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    result = {"type": "function_call_output", "call_id": "c", "output": "ok"}
    given = [{"role": "user", "content": "?"}, *output, *([result] if with_result else [])]
    messages = read_responses({"input": given})[1].messages
    assert messages is not None
    assert [message.role for message in messages] == ["user", "assistant", "tool"][
        : 2 + with_result
    ]
    assert messages[1].content == "ab"
    assert messages[1].tool_calls == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
