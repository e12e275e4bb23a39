"""Reasoning, sources and other fields of an answer reach clients, and go back to the upstream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hub.api.generation_requests import GenerateBody
from hub.compat.ag_ui.requests import RunAgentInput, to_request
from hub.compat.ai_sdk.requests import read_chat as read_ui_chat
from hub.compat.answer_state import AnswerCollector
from hub.compat.anthropic.encoder import MessageCollector
from hub.compat.anthropic.requests import read_messages
from hub.compat.openai_chat.encoder import chat_completion
from hub.compat.openai_chat.requests import read_chat
from hub.compat.openai_responses.requests import read_responses
from hub.compat.openai_responses.response_object import response_object
from hub.core.generation import GenerationRequest, Message
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from tests.compat.history import (
    ANNOTATIONS,
    DETAILS,
    DONE,
    ENCODERS,
    RECORD,
    SIGNED,
    SOURCE,
    STARTED,
    Event,
    encode_all,
    event,
    reasoning_delta,
    text_delta,
)

EXTRA = {"extra_content": {"google": {"thought_signature": "sig-2"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **EXTRA}
STORY: list[Event] = [
    STARTED,
    reasoning_delta("hm"),
    DETAILS,
    text_delta("Yes."),
    ANNOTATIONS,
    event("delta", i=0, tool_calls=[{"index": 0, **CALL}]),
    DONE,
]
ASSISTANT = Message(
    "assistant",
    "Yes.",
    tool_calls=[CALL],
    reasoning_content="hm",
    reasoning_details=[SIGNED],
)


def collect() -> AnswerCollector:
    """Return the complete answer of the story."""
    collector = AnswerCollector(RECORD)
    for name, data in STORY:
        collector.feed(name, data)
    return collector


def chunks_of(name: str) -> list[Any]:
    """Return the chunks of the story as one client reads them."""
    lines = b"".join(encode_all(ENCODERS[name](), STORY)).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "ui", "ag-ui"])
def test_streams_carry_everything(name: str) -> None:
    """Each API has a place for the signature, the source and the other fields of a call."""
    text = json.dumps(chunks_of(name))
    assert all(each in text for each in ("sig-1", "https://example.org"))
    assert ("sig-2" in text) == (name != "ag-ui")  # its events of a call have no other fields


def test_complete_answers_carry_everything() -> None:
    """So do complete answers."""
    answer = collect().answer
    message = chat_completion(RECORD, answer)["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "hm",
        "reasoning_details": [SIGNED],
        "annotations": [SOURCE],
        "tool_calls": [CALL],
    }
    reasoning, text, call = response_object(RECORD, answer)["output"]
    assert reasoning["reasoning_details"] == [SIGNED]
    assert text["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://example.org", "title": "E",
         "start_index": 0, "end_index": 0}
    ]  # fmt: skip
    assert call["extra_content"] == EXTRA["extra_content"]


def from_chat() -> GenerateBody:
    message = chat_completion(RECORD, collect().answer)["choices"][0]["message"]
    return read_chat({"messages": [{"role": "user", "content": "hi"}, message]})[1]


def from_responses() -> GenerateBody:
    output = response_object(RECORD, collect().answer)["output"]
    return read_responses({"input": [{"role": "user", "content": "hi"}, *output]})[1]


def from_streamed_responses() -> GenerateBody:
    output = chunks_of("responses")[-1]["response"]["output"]
    return read_responses({"input": [{"role": "user", "content": "hi"}, *output]})[1]


def from_ui() -> GenerateBody:
    """Return the request of a client that has the parts which `useChat` makes of the chunks."""
    parts: list[dict[str, Any]] = [{"type": "step-start"}]
    for chunk in chunks_of("ui"):
        match chunk["type"]:
            case "reasoning-start" | "text-start":
                parts.append({"type": chunk["type"].removesuffix("-start"), "text": ""})
            case "reasoning-delta" | "text-delta":
                parts[-1]["text"] += chunk["delta"]
            case "reasoning-end":
                parts[-1]["providerMetadata"] = chunk["providerMetadata"]
            case "source-url":
                parts.append(chunk)
            case "tool-input-available":
                head = {"toolCallId": chunk["toolCallId"], "input": chunk["input"]}
                parts.append({"type": f"tool-{chunk['toolName']}", **head, "output": "42",
                              "state": "output-available",
                              "callProviderMetadata": chunk["providerMetadata"]})  # fmt: skip
    message = {"id": "a", "role": "assistant", "parts": parts}
    user = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    return read_ui_chat({"id": "c", "messages": [user, message]})[1]


def from_messages() -> GenerateBody:
    collector = MessageCollector(RECORD)
    encode_all(collector, STORY)
    answer = {"role": "assistant", "content": collector.document()["content"]}
    return read_messages({"messages": [{"role": "user", "content": "hi"}, answer]})[1]


@pytest.mark.parametrize(
    "read",
    [from_chat, from_responses, from_streamed_responses, from_ui, from_messages],
    ids=lambda f: f.__name__,
)
def test_answers_go_back(read: Callable[[], GenerateBody]) -> None:
    """An answer that a client sends back has its reasoning, its details and its signatures."""
    messages = read().messages
    assert messages is not None
    assert messages[1] == ASSISTANT


def test_ag_ui_reasoning_goes_back() -> None:
    """A reasoning message belongs to the assistant's message that follows it."""
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "reasoning", "content": "hm"},
        {"role": "assistant", "content": "Yes."},
    ]
    run = msgspec.convert({"threadId": "t", "runId": "r", "messages": messages}, RunAgentInput)
    converted = to_request(run, run.props).messages
    assert converted is not None
    assert [(each.role, each.reasoning_content) for each in converted] == [
        ("user", None),
        ("assistant", "hm"),
    ]


def test_upstreams_get_what_they_know() -> None:
    """Each wire format gets the reasoning in its own form, or not at all."""
    encrypted = {"type": "reasoning.encrypted", "data": "z", "format": "openai-responses-v1"}
    message = Message(
        "assistant", "Yes.", reasoning_content="hm", reasoning_details=[SIGNED, encrypted]
    )
    request = GenerationRequest([Message("user", "hi"), message], "u", "m")
    bodies = [
        kind({}).build_request(request).body
        for kind in (OpenAiChat, AnthropicMessages, OpenAiResponses, OllamaChat, DashScope)
    ]
    chat, anthropic, responses, ollama, dashscope = bodies
    assert chat["messages"][1]["reasoning_content"] == "hm"
    assert chat["messages"][1]["reasoning_details"] == [SIGNED, encrypted]
    assert anthropic["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig-1"},
        {"type": "text", "text": "Yes."},
    ]
    assert responses["input"][1:] == [
        {"type": "reasoning", "summary": [], "encrypted_content": "z"},
        {"role": "assistant", "content": "Yes."},
    ]
    assert ollama["messages"][1]["thinking"] == "hm"
    assert dashscope["input"]["messages"][1]["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("state", "approval", "result"),
    [
        ("output-denied", {"approved": False, "reason": "too dear"}, "too dear"),
        ("output-denied", {"approved": False}, "Tool call execution denied."),
        ("output-denied", None, "Tool call execution denied."),
        ("approval-responded", {"approved": False, "reason": "no"}, "no"),
        ("approval-responded", {"approved": True}, "The user approved this tool call."),
        ("output-error", {"approved": True}, "it broke"),
        ("approval-requested", {"id": "1"}, None),
        ("input-available", None, None),
        ("input-streaming", None, None),
    ],
)
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_approvals_of_the_ai_sdk(
    state: str, approval: Any, result: str | None, is_dynamic: bool
) -> None:
    """A call that the user approved or refused is kept with the user's answer as its result."""
    name = {"type": "dynamic-tool", "toolName": "buy"} if is_dynamic else {"type": "tool-buy"}
    part = {**name, "toolCallId": "c1", "state": state, "input": {"n": 1}, "errorText": "it broke"}
    if approval is not None:
        part["approval"] = approval
    parts = [{"type": "step-start"}, {"type": "text", "text": "Shall I?"}, part]
    messages = read_ui_chat({"messages": [{"role": "assistant", "parts": parts}]})[1].messages
    assert messages is not None
    assert [message.role for message in messages] == ["assistant", "tool"][: 1 + bool(result)]
    if result is not None:
        function = {"name": "buy", "arguments": '{"n":1}'}
        assert messages[0].tool_calls == [{"id": "c1", "type": "function", "function": function}]
        assert messages[1].tool_call_id == "c1"
        assert str(messages[1].content).startswith(result)


def test_finish_reasons_are_strict() -> None:
    """A vendor's word becomes `stop` for clients of chat completions, which check the reason."""
    story = [STARTED, event("done", finish_reason="brand_new", usage=None)]
    lines = b"".join(encode_all(ENCODERS["chat"](), story)).decode().split("\n")
    reasons = [json.loads(line[6:])["choices"][0]["finish_reason"] for line in lines if line]
    assert reasons == [None, "stop"]
