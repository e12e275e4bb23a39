"""An answer that begins again after tool calls were sent: what each dialect does with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.compat.ai_sdk.requests import read_chat
from hub.compat.append_only import AppendOnlyText
from hub.compat.openai_chat.text_completion import TextCompletionEncoder
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, TemplateEncoder
from hub.core.event import encode_json
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Message
from hub.core.response_items import MESSAGE_DATA
from hub.core.sse_decoder import SseDecoder
from hub.ports.compat import AnswerEncoder
from tests.compat.history import (
    ANNOTATIONS,
    DETAILS,
    DONE,
    ENCODERS,
    ID,
    PARTS,
    PNG,
    RECORD,
    RESTARTED,
    STARTED,
    Event,
    encode_all,
    event,
    part,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)
from tests.defaults import output_template

CALL = tool_call_delta(0, '{"a":', id="old", name="f")
NEW_CALL = tool_call_delta(0, '{"a":1}', id="new", name="f")
OWN_CALL = tool_call_delta(0, "{}", id="own", name="f", run_by="producer")
TEMPLATES = {
    "calls": output_template(text="{text}", tool_calls="{tool_calls}", error="{code}"),
    "cumulative calls": output_template(
        text="{text}", tool_calls="{tool_calls}", error="{code}", cumulative=True
    ),
}


def build(name: str) -> AnswerEncoder:
    if name in TEMPLATES:
        return TemplateEncoder(RECORD, TEMPLATES[name])
    return ENCODERS[name]()


def chunks_of(name: str, events: list[Event]) -> list[Any]:
    """Return the decoded data of each chunk."""
    text = b"".join(encode_all(build(name), events))
    return [json.loads(event.data) for event in SseDecoder().feed(text)]


@pytest.mark.parametrize("name", ["chat", "responses", "messages", *TEMPLATES])
def test_sent_call_cannot_be_taken_back(name: str) -> None:
    """A dialect that only appends ends with an error, so that no client runs the calls of both
    versions.
    """
    encoder = build(name)
    chunks = encode_all(encoder, [STARTED, CALL, RESTARTED, NEW_CALL, DONE])
    assert encoder.is_finished
    assert b"answer_rewritten" in b"".join(chunks)
    assert b'"new"' not in b"".join(chunks)


@pytest.mark.parametrize("name", ["chat", "messages", "envelope", "text", "cumulative"])
def test_call_that_was_not_sent(name: str) -> None:
    """Where calls, or those of the producer, are not sent, the new version continues the stream."""
    story = [STARTED, text_delta("Hel"), OWN_CALL, RESTARTED, text_delta("Hello"), DONE]
    encoder = build(name)
    text = b"".join(encode_all(encoder, story))
    assert b"lo" in text
    assert b"answer_rewritten" not in text
    assert name in ("chat", "messages") or BUILT_IN_TEMPLATES[name].tool_calls is None


def test_ag_ui_retracts_calls() -> None:
    """The open call is closed, the snapshot has none of the answer, and the new call follows."""
    chunks = chunks_of("ag-ui", [STARTED, CALL, RESTARTED, NEW_CALL, DONE])
    calls = [(c["type"], c.get("toolCallId")) for c in chunks if "CALL" in c["type"]]
    assert calls == [
        ("TOOL_CALL_START", "old"),
        ("TOOL_CALL_ARGS", "old"),
        ("TOOL_CALL_END", "old"),
        ("TOOL_CALL_START", "new"),
        ("TOOL_CALL_ARGS", "new"),
        ("TOOL_CALL_END", "new"),
    ]
    (snapshot,) = (c for c in chunks if c["type"] == "MESSAGES_SNAPSHOT")
    assert [message["id"] for message in snapshot["messages"]] == ["u1"]


@pytest.mark.parametrize("name", ["ui", "ui with reset-step"])
def test_ai_sdk_begins_a_step_after_void_calls(name: str) -> None:
    """A client that waits for the results of all calls of the last step does not wait for a call
    that is void.
    """
    chunks = chunks_of(name, [STARTED, CALL, RESTARTED, NEW_CALL, DONE])
    kinds = [chunk["type"] for chunk in chunks]
    notice = kinds.index("reset-step" if "reset" in name else "data-generation")
    assert kinds[notice + 1 : notice + 4] == ["finish-step", "start-step", "tool-input-start"]
    assert [c["toolCallId"] for c in chunks[notice:] if "toolCallId" in c] == ["new"] * 3


def retraction(event: str) -> dict[str, Any]:
    return {"type": "data-generation", "data": {"event": event, "generation": ID}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


TOOL = {
    "type": "tool-f",
    "toolCallId": "c",
    "state": "output-available",
    "input": {},
    "output": "out",
}
STEP = {"type": "step-start"}
SENT_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = Message(role="tool", tool_call_id="c", content="out")


@pytest.mark.parametrize(
    ("parts", "messages"),
    [
        ([text_part("a"), retraction("restarted"), text_part("b")], [Message("assistant", "b")]),
        ([text_part("a"), retraction("replaced"), text_part("b")], [Message("assistant", "b")]),
        (
            [text_part("a"), TOOL, retraction("replaced"), text_part("b")],
            [Message("assistant", "b", tool_calls=[SENT_CALL]), RESULT],
        ),
        ([text_part("a"), TOOL, retraction("restarted")], []),
        # The step before belongs to an earlier answer, which this message continues.
        (
            [STEP, TOOL, STEP, text_part("a"), retraction("restarted"), STEP, text_part("b")],
            [Message("assistant", tool_calls=[SENT_CALL]), RESULT, Message("assistant", "b")],
        ),
        ([text_part("a"), {"type": "data-generation", "data": "restarted"}], None),
        ([text_part("a"), {"type": "data-generation", "data": {"event": ["restarted"]}}], None),
        ([text_part("a"), {"type": "data-other", "data": {"event": "restarted"}}], None),
    ],
)
def test_void_parts_do_not_reach_the_llm(
    parts: list[dict[str, Any]], messages: list[Message] | None
) -> None:
    """Parts of a message that a later part of the same step retracts are left out."""
    _, request = read_chat({"messages": [{"role": "assistant", "parts": parts}]})
    expected = [Message("assistant", "a")] if messages is None else messages
    assert request.messages == expected


MESSAGE = part("data", name=MESSAGE_DATA, value={"phase": "commentary"})
REPEATABLE = st.one_of(
    st.text(min_size=1, max_size=3).map(text_delta),
    st.text(min_size=1, max_size=3).map(reasoning_delta),
    st.sampled_from([DETAILS, ANNOTATIONS, PNG, MESSAGE, *PARTS]),
)
APPENDING: dict[str, Callable[[], AnswerEncoder]] = {
    "chat": ENCODERS["chat"],
    "responses": ENCODERS["responses"],
    "messages": ENCODERS["messages"],
    "template": lambda: TemplateEncoder(
        RECORD, output_template(text="{text}", reasoning="{text}", error="{code}")
    ),
}


def continued_at(parts: int, story: list[Event]) -> Event:
    """Return the event of an answer that continues after so many parts of a story."""
    folded = FoldedParts()
    for name, data in story[:parts]:
        folded.apply(name, json.loads(data))
    snapshot = {"text": folded.text, "parts": folded.parts}
    return event("continued", attempt=2, model="m1", parts=parts, snapshot=snapshot)


@pytest.mark.parametrize("name", APPENDING)
@given(story=st.lists(REPEATABLE, max_size=8), sent=st.integers(0, 8), kept=st.integers(0, 8))
def test_repeated_parts_are_sent_once(name: str, story: list[Event], sent: int, kept: int) -> None:
    """A new version that repeats the first one, from its start or from a checkpoint, continues the
    stream as if there had been one.
    """
    story = [(name, encode_json({**json.loads(d), "i": n})) for n, (name, d) in enumerate(story)]
    sent = min(sent, len(story))
    kept = min(kept, sent)
    once = encode_all(APPENDING[name](), [STARTED, *story, DONE])
    restarted = [STARTED, *story[:sent], RESTARTED, *story, DONE]
    assert encode_all(APPENDING[name](), restarted) == once
    cut = [STARTED, *story[:sent], continued_at(kept, story), *story[kept:], DONE]
    assert encode_all(APPENDING[name](), cut) == once


@given(first=st.text(max_size=6), parts=st.lists(st.text(max_size=3), max_size=4))
def test_reasoning_that_differs_follows(first: str, parts: list[str]) -> None:
    """A version that differs follows the one that was sent, as a whole."""
    shown, whole = AppendOnlyText(may_differ=True), "".join(parts)
    shown.add(first)
    shown.restart()
    seen = "".join(shown.add(part) for part in parts)
    shown.end()
    if first.startswith(whole):
        assert seen == ""
    elif whole.startswith(first):
        assert seen == whole[len(first) :]
    else:
        assert seen == whole


def test_other_reasoning_is_an_item_of_its_own() -> None:
    """Responses ends the item of the first version, whose text cannot be taken back."""
    story = [STARTED, reasoning_delta("ab"), RESTARTED, reasoning_delta("a"), reasoning_delta("c")]
    *_, end = chunks_of("responses", [*story, text_delta("x"), DONE])
    items = end["response"]["output"]
    assert [(item["type"], item["content"][0]["text"]) for item in items] == [
        ("reasoning", "ab"),
        ("reasoning", "ac"),
        ("message", "x"),
    ]


OTHER_PNG = part("file", data="eW8=", media_type="image/png")


@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize(
    "newer", [[OTHER_PNG], [], [PNG, OTHER_PNG]], ids=["other", "none", "more"]
)
def test_sent_image_cannot_be_taken_back(name: str, newer: list[Event]) -> None:
    """A stream that has sent an image which the answer has lost ends with an error."""
    text = b"".join(encode_all(build(name), [STARTED, PNG, RESTARTED, *newer, DONE]))
    assert (b"answer_rewritten" in text) is (newer[:1] != [PNG])
    assert text.count(b"aGk=") == (1 if name == "chat" else text.count(b"aGk="))


def test_older_completions_have_no_images() -> None:
    """A picture is no chunk of a text."""
    chunks = encode_all(TextCompletionEncoder(RECORD), [STARTED, PNG, text_delta("a"), DONE])
    assert [json.loads(chunk[6:])["choices"][0]["text"] for chunk in chunks] == ["a", ""]
