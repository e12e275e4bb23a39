"""An answer that begins again after tool calls were sent: what each dialect does with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.compat.ai_sdk.requests import read_chat
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, TemplateEncoder
from hub.core.generation import Message
from hub.core.sse_decoder import SseDecoder
from hub.ports.compat import AnswerEncoder
from tests.compat.history import (
    DONE,
    ENCODERS,
    ID,
    RECORD,
    RESTARTED,
    STARTED,
    Event,
    encode_all,
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


@pytest.mark.parametrize("name", ["chat", "responses", *TEMPLATES])
def test_sent_call_cannot_be_taken_back(name: str) -> None:
    """A dialect that only appends ends with an error, so that no client runs the calls of both
    versions.
    """
    encoder = build(name)
    chunks = encode_all(encoder, [STARTED, CALL, RESTARTED, NEW_CALL, DONE])
    assert encoder.is_finished
    assert b"answer_rewritten" in b"".join(chunks)
    assert b'"new"' not in b"".join(chunks)


@pytest.mark.parametrize("name", ["chat", "envelope", "text", "cumulative"])
def test_call_that_was_not_sent(name: str) -> None:
    """Where calls, or those of the producer, are not sent, the new version continues the stream."""
    story = [STARTED, text_delta("Hel"), OWN_CALL, RESTARTED, text_delta("Hello"), DONE]
    encoder = build(name)
    text = b"".join(encode_all(encoder, story))
    assert b"lo" in text
    assert b"answer_rewritten" not in text
    assert name == "chat" or BUILT_IN_TEMPLATES[name].tool_calls is None


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
