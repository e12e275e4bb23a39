"""The events of Anthropic's Messages, put together by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.anthropic.encoder import MessageCollector, MessageEncoder
from hub.compat.anthropic.message_object import to_usage
from hub.core.sse_decoder import SseDecoder
from tests import sdks
from tests.compat.history import (
    ANNOTATIONS,
    DONE,
    FAILED,
    ID,
    PARTS,
    RECORD,
    RESTARTED,
    STARTED,
    STOPPED,
    Event,
    continued,
    encode_all,
    event,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)
from tests.properties import limit_examples

CLAUDE = "anthropic-claude-v1"
OPENAI = {"type": "reasoning.encrypted", "data": "z", "format": "openai-responses-v1", "id": "r1"}
REDACTED = {"type": "reasoning.encrypted", "data": "secret", "format": CLAUDE}


def signed(text: str, signature: str = "sig") -> dict[str, Any]:
    """Return the detail with which Anthropic's upstream ends a block of thinking."""
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": CLAUDE}


def details(*given: dict[str, Any]) -> Event:
    return event("delta", i=0, reasoning_details=list(given))


def stream(events: list[Event]) -> list[dict[str, Any]]:
    """Return the data of each event of the stream; its name is the type."""
    text = b"".join(encode_all(MessageEncoder(RECORD), events))
    received = SseDecoder().feed(text)
    data = [json.loads(each.data) for each in received]
    assert [each.name for each in received] == [each["type"] for each in data]
    return data


def fold(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that the Python SDK makes of the stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for each in events:
        snapshot = sdks.anthropic.lib.streaming._messages.accumulate_event(
            event=each,  # type: ignore[arg-type]
            current_snapshot=snapshot,
            json_bufs=buffers,
        )
    message: dict[str, Any] = snapshot.to_dict(mode="json")
    return message


def whole(events: list[Event]) -> dict[str, Any]:
    """Return the message of a client that does not stream."""
    collector = MessageCollector(RECORD)
    encode_all(collector, events)
    return collector.document()


def without_none(value: Any) -> Any:
    """Return JSON without null members, which the SDK adds."""
    if isinstance(value, dict):
        return {name: without_none(each) for name, each in value.items() if each is not None}
    return [without_none(each) for each in value] if isinstance(value, list) else value


def kinds_of(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the kinds of the events, with the blocks that they belong to."""
    kinds: list[tuple[Any, ...]] = []
    for each in events:
        kind = each.get("content_block", each.get("delta", {})).get("type")
        kinds.append(
            tuple(part for part in (each["type"], each.get("index"), kind) if part is not None)
        )
    return kinds


def test_text() -> None:
    """A text is one block; the message ends with its stop reason and the token usage."""
    assert stream([STARTED, text_delta("Hel"), text_delta("lo"), DONE]) == [
        {
            "type": "message_start",
            "message": {
                "id": f"msg_{ID}",
                "type": "message",
                "role": "assistant",
                "model": "m1",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hel"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "lo"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 3, "output_tokens": 2},
        },
        {"type": "message_stop"},
    ]


def test_blocks_follow_each_other() -> None:
    """Parallel calls whose arguments alternate are blocks one after another."""
    events = stream(
        [
            STARTED,
            reasoning_delta("hm"),
            details(signed("hm")),
            text_delta("I look."),
            tool_call_delta(0, "", id="call_a", name="weather"),
            tool_call_delta(1, '{"b":', id="call_b", name="time"),
            tool_call_delta(0, '{"a":1}'),
            tool_call_delta(1, "2}"),
            event("done", finish_reason="tool_calls", usage=None),
        ]
    )
    start, delta, stop = (f"content_block_{kind}" for kind in ("start", "delta", "stop"))
    assert kinds_of(events)[1:-2] == [
        (start, 0, "thinking"), (delta, 0, "thinking_delta"), (delta, 0, "signature_delta"),
        (stop, 0),
        (start, 1, "text"), (delta, 1, "text_delta"), (stop, 1),
        (start, 2, "tool_use"), (delta, 2, "input_json_delta"), (stop, 2),
        (start, 3, "tool_use"), (delta, 3, "input_json_delta"), (delta, 3, "input_json_delta"),
        (stop, 3),
    ]  # fmt: skip
    assert without_none(fold(events))["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_b", "name": "time", "input": {"b": 2}},
    ]


@pytest.mark.parametrize(
    ("reason", "calls", "expected"),
    [
        ("stop", [], "end_turn"),
        ("length", [], "max_tokens"),
        ("content_filter", [], "refusal"),
        ("refusal", [], "refusal"),
        ("a_new_word", [], "end_turn"),
        ("stop", [tool_call_delta(0, "{}", id="c", name="f")], "tool_use"),
        ("tool_calls", [tool_call_delta(0, "{}", id="c", name="f")], "tool_use"),
        ("length", [tool_call_delta(0, "{", id="c", name="f")], "max_tokens"),
        ("tool_calls", [tool_call_delta(0, "{}", id="c", name="f", run_by="producer")], "end_turn"),
    ],
)
def test_stop_reasons(reason: str, calls: list[Event], expected: str) -> None:
    """`tool_use` means exactly that the client has a tool to run."""
    story = [STARTED, text_delta("a"), *calls, event("done", finish_reason=reason)]
    assert stream(story)[-2]["delta"]["stop_reason"] == expected
    assert whole(story)["stop_reason"] == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, {"input_tokens": 0, "output_tokens": 0}),
        (
            {"prompt_tokens": "x", "completion_tokens": None},
            {"input_tokens": 0, "output_tokens": 0},
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 6, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            {
                "input_tokens": 4,
                "output_tokens": 4,
                "cache_read_input_tokens": 6,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "cache_read_input_tokens": 90,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 7},
                "service_tier": "standard",
                "output_tokens_details": {"thinking_tokens": 2},
            },
            {
                "input_tokens": 10,
                "output_tokens": 4,
                "cache_read_input_tokens": 90,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 7},
                "service_tier": "standard",
                "output_tokens_details": {"thinking_tokens": 2},
            },
        ),
    ],
)
def test_usage(usage: dict[str, Any] | None, expected: dict[str, Any]) -> None:
    """Tokens that a cache held are counted once, whatever the upstream counts them under."""
    assert to_usage(usage) == expected


@pytest.mark.parametrize(
    ("story", "kinds"),
    [
        ([reasoning_delta("hm"), details(OPENAI)], ["thinking"]),
        ([details(OPENAI)], ["redacted_thinking"]),
        ([details(REDACTED), details(signed(""))], ["redacted_thinking", "thinking"]),
        ([details(signed("shown nowhere else"))], ["thinking"]),
        ([reasoning_delta("a"), details({"type": "reasoning.text", "text": "a"})], ["thinking"]),
        (
            [reasoning_delta("a"), details(signed("a", "1"), REDACTED)],
            ["thinking", "redacted_thinking"],
        ),
        (
            [reasoning_delta("a"), details(signed("a", "1")), reasoning_delta("b")],
            ["thinking", "thinking"],
        ),
    ],
)
def test_thinking(story: list[Event], kinds: list[str]) -> None:
    """The reasoning of every vendor is a block that a client keeps."""
    message = whole([STARTED, *story, text_delta("a"), DONE])
    assert [block["type"] for block in message["content"]] == [*kinds, "text"]
    assert without_none(fold(stream([STARTED, *story, text_delta("a"), DONE]))) == without_none(
        message
    )


def test_citations_belong_to_the_text() -> None:
    """A source cites the text before it, or the next one, or an empty one at the end."""
    source = {"url": "https://example.org", "title": "E", "cited_text": "", "encrypted_index": ""}
    citation = {"type": "web_search_result_location", **source}
    location = {"type": "char_location", "cited_text": "x", "document_index": 0}
    native = event("delta", i=0, annotations=[location, {"type": "file_citation"}])
    cited = [citation, {**citation, "title": None}, location]
    for story, expected in (
        ([text_delta("a"), ANNOTATIONS, PARTS[8], native], [("a", cited)]),
        ([ANNOTATIONS, PARTS[8], native, text_delta("a")], [("a", cited)]),
        ([ANNOTATIONS, PARTS[8], native], [("", cited)]),
    ):
        events = [STARTED, *story, DONE]
        blocks = whole(events)["content"]
        urls = [{**each, "url": citation["url"]} if "url" in each else each
                for block in blocks for each in block["citations"]]  # fmt: skip
        assert [(block["text"], urls) for block in blocks] == expected
        assert without_none(fold(stream(events))) == without_none(whole(events))


def test_parts_without_a_form_are_left_out() -> None:
    """Files, status, steps, data, and what the producer does itself have no block."""
    own = tool_call_delta(0, "{}", id="call_a", name="f", run_by="producer")
    parts = [each for each in PARTS if b'"source"' not in each[1]]
    assert whole([STARTED, own, *parts, text_delta("a"), DONE])["content"] == [
        {"type": "text", "text": "a"}
    ]


def test_arguments_that_are_no_object() -> None:
    """The input of a call is always an object, also if the model wrote something else."""
    story = [STARTED, tool_call_delta(0, "[1", id="c", name="f"), DONE]
    assert whole(story)["content"][0]["input"] == {"arguments": "[1"}


def test_restarted_thinking_is_a_block_of_its_own() -> None:
    """A signature holds for the thinking of one version only."""
    story = [
        STARTED,
        reasoning_delta("first"),
        RESTARTED,
        reasoning_delta("second"),
        details(signed("second")),
        text_delta("a"),
        DONE,
    ]
    assert without_none(fold(stream(story)))["content"] == [
        {"type": "thinking", "thinking": "first", "signature": ""},
        {"type": "thinking", "thinking": "second", "signature": "sig"},
        {"type": "text", "text": "a"},
    ]
    assert [each["type"] for each in whole(story)["content"]] == ["thinking", "text"]


def test_whole_message_is_the_newest_version() -> None:
    """It has nothing of a version that the upstream took back."""
    call = tool_call_delta(0, "{}", id="old", name="f")
    story = [STARTED, text_delta("old"), call, RESTARTED, text_delta("a"), ANNOTATIONS]
    (block,) = whole([*story, event("replaced", i=0, text="new"), DONE])["content"]
    assert (block["text"], len(block["citations"])) == ("new", 1)
    assert whole([*story, DONE])["stop_reason"] == "end_turn"


def test_continued_answer() -> None:
    """The parts that remain are in the whole message once, and the stream does not repeat them."""
    text = {"type": "text", "text": "Hel"}
    sent = [event("delta", i=0, text="Hel"), event("delta", i=1, reasoning="void")]
    story = [STARTED, *sent, continued(1, text), event("delta", i=1, text="lo"), DONE]
    assert whole(story)["content"] == [{"type": "text", "text": "Hello"}]
    assert _text_of(fold(stream(story))) == "Hello"


@pytest.mark.parametrize("end", [FAILED, STOPPED])
def test_broken_message_never_looks_complete(end: Event) -> None:
    """After the error there is nothing, and the body gets no end."""
    encoder = MessageEncoder(RECORD)
    text = b"".join(encode_all(encoder, [STARTED, text_delta("half"), end]))
    events = [json.loads(each.data) for each in SseDecoder().feed(text)]
    assert encoder.is_broken
    assert encoder.trailer == b""
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["type"] in ("api_error", "invalid_request_error")
    assert events[-1]["request_id"] == f"req_{ID}"
    assert "message_stop" not in [each["type"] for each in events]
    aborted = MessageEncoder(RECORD)
    assert b"event: error" in aborted.abort("log_trimmed", "gone")
    assert aborted.is_broken


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (401, "api_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
    ],
)
def test_failure_of_the_upstream_in_a_stream(status: int, kind: str) -> None:
    """The type says whose mistake it is; a refused key is the operator's."""
    end = event("failed", code="upstream_status", message="no", upstream_status=status)
    error = stream([STARTED, text_delta("a"), end])[-1]["error"]
    assert error == {"type": kind, "message": "no", "code": "upstream_status"}


_text = st.text(min_size=1, max_size=8)
_arguments = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)


@st.composite
def _answers(draw: st.DrawFn) -> list[Event]:
    """Draw an answer of one version: its calls are whole, and their pieces come in any order."""
    calls: list[list[Event]] = []
    for index in range(draw(st.integers(0, 3))):
        text = json.dumps(draw(_arguments))
        cut = draw(st.integers(0, len(text)))
        run_by = {"run_by": "producer"} if draw(st.booleans()) else {}
        head = {"id": f"call_{index}", "name": "f", **run_by}
        calls.append(
            [tool_call_delta(index, text[:cut], **head), tool_call_delta(index, text[cut:])]
        )
    other = st.one_of(
        _text.map(text_delta),
        _text.map(reasoning_delta),
        _text.map(lambda text: details(signed(text))),
        st.sampled_from(
            [ANNOTATIONS, details(OPENAI), details(REDACTED), details(OPENAI, REDACTED)]
        ),
        st.sampled_from(PARTS),
    )
    middle = draw(st.lists(other, max_size=10))
    started = 0
    while started < len(calls) or any(calls):
        ready = [n for n in range(min(started + 1, len(calls))) if calls[n]]
        number = draw(st.sampled_from(ready))
        started = max(started, number + 1)
        position = draw(st.integers(0, len(middle)))
        last = max((n for n, each in enumerate(middle) if b'"tool_calls"' in each[1]), default=-1)
        middle.insert(max(position, last + 1), calls[number].pop(0))
    reason = draw(st.sampled_from(["stop", "length", "tool_calls", "refusal"]))
    usage = draw(st.sampled_from([None, {"prompt_tokens": 3, "completion_tokens": 2}]))
    return [STARTED, *middle, event("done", finish_reason=reason, usage=usage)]


@given(_answers())
@settings(max_examples=limit_examples(60), deadline=None)
def test_stream_folds_to_the_whole_message(events: list[Event]) -> None:
    """What the SDK makes of the events is the message that a waiting client gets, and every block
    begins and ends once, in the order of the indexes.
    """
    received = stream(events)
    assert without_none(fold(received)) == without_none(whole(events))
    starts = [each["index"] for each in received if each["type"] == "content_block_start"]
    stops = [each["index"] for each in received if each["type"] == "content_block_stop"]
    assert starts == [*range(len(starts))]
    assert sorted(stops) == starts
    for n, each in enumerate(received):
        if each["type"] == "content_block_delta":
            before = [(e["type"], e.get("index")) for e in received[:n]]
            assert ("content_block_start", each["index"]) in before
            assert ("content_block_stop", each["index"]) not in before


@given(
    _answers(),
    st.lists(st.sampled_from([RESTARTED, event("replaced", i=0, text="ab")]), max_size=2),
    _answers(),
)
@settings(max_examples=limit_examples(30), deadline=None)
def test_new_versions(first: list[Event], changes: list[Event], second: list[Event]) -> None:
    """A stream that survives a new version shows exactly the text of the whole message."""
    events = [*first[:-1], *changes, *second[1:]] if changes else first
    received = stream(events)
    if received[-1]["type"] == "error":
        return
    assert _text_of(fold(received)) == _text_of(whole(events))


def _text_of(message: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in message["content"])
