"""The chunks of each dialect; tests/e2e/test_compat.py runs the real clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.answer_state import AnswerCollector
from hub.compat.openai_chat.encoder import ChatCompletionEncoder, chat_completion
from hub.compat.openai_responses.requests import read_responses
from hub.compat.openai_responses.response_object import response_object
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, TemplateEncoder
from hub.core.generation import Generation, GenerationRequest, Message
from hub.core.sse_decoder import SseDecoder
from tests.compat.history import (
    DONE,
    ENCODERS,
    FAILED,
    ID,
    RECORD,
    RESTARTED,
    STARTED,
    STOPPED,
    USAGE,
    Event,
    encode_all,
    event,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)
from tests.defaults import output_template

TOOLS = [
    STARTED,
    reasoning_delta("hm"),
    text_delta("I look."),
    tool_call_delta(0, "", id="call_a", name="weather"),
    tool_call_delta(1, '{"b":', id="call_b", name="time"),
    tool_call_delta(0, '{"a":1}'),
    tool_call_delta(1, "2}"),
    event("done", finish_reason="tool_calls", usage=None),
]


def decode_chunks(name: str, events: list[Event]) -> list[dict[str, Any]]:
    """Return the decoded data of each chunk."""
    text = b"".join(encode_all(ENCODERS[name](), events))
    return [json.loads(event.data) for event in SseDecoder().feed(text)]


def pick_fields(chunks: list[dict[str, Any]], *fields: str) -> list[tuple[Any, ...]]:
    """Return the given fields of each chunk that has them."""
    return [tuple(chunk[field] for field in fields if field in chunk) for chunk in chunks]


def test_chat_chunks() -> None:
    """The chunks carry the role, the content, the finish reason and the usage."""
    chunks = decode_chunks("chat", [STARTED, text_delta("Hi"), DONE])
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{ID}"}
    assert {chunk["created"] for chunk in chunks} == {1_700_000_000}
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert ENCODERS["chat"]().trailer == b"data: [DONE]\n\n"


def test_chat_omits_usage_that_is_not_requested_or_unknown() -> None:
    """The usage is absent if it was not requested or is unknown; it is never 0."""
    assert "usage" not in json.loads(
        encode_all(ChatCompletionEncoder(RECORD), [STARTED, DONE])[-1][6:]
    )
    unknown = decode_chunks("chat", [STARTED, event("done", finish_reason="length", usage=None)])
    assert unknown[-1]["choices"][0]["finish_reason"] == "length"


def test_chat_errors() -> None:
    """Failures and stops have OpenAI's error form, which its SDKs raise as exceptions."""
    assert decode_chunks("chat", [STARTED, FAILED])[-1] == {
        "error": {
            "message": "it broke off",
            "type": "server_error",
            "param": None,
            "code": "upstream_truncated",
        }
    }
    assert decode_chunks("chat", [STARTED, STOPPED])[-1]["error"]["code"] == "generation_stopped"


NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs")
FIELDS = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model"),
    *("previous_response_id", "instructions", "output", "error", "tools", "tool_choice"),
    *("truncation", "parallel_tool_calls", "text", "reasoning", "usage", "max_output_tokens"),
    *("max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier"),
    *("prompt_cache_key", *NUMBERS),
}
"""The fields that the specification of OpenResponses requires in each response."""


def test_response_has_every_field_of_the_specification() -> None:
    """Strict clients refuse a response without one of them, and null instead of a number."""
    end = event("done", finish_reason="stop", usage=USAGE, seconds={"total": 2.7})
    chunks = decode_chunks("responses", [STARTED, text_delta("Hi"), end])
    responses = [chunk["response"] for chunk in chunks if "response" in chunk]
    assert [response["status"] for response in responses] == [
        *("in_progress", "in_progress", "completed"),
    ]
    for response in responses:
        assert response.keys() == FIELDS
        assert all(isinstance(response[name], int | float) for name in NUMBERS)
    assert [response["completed_at"] for response in responses] == [None, None, 1_700_000_003]


def test_response_repeats_the_request() -> None:
    """What the request sets is in the response."""
    given: dict[str, Any] = {
        "temperature": 0.5,
        "presence_penalty": 1,
        "frequency_penalty": 0.25,
        "service_tier": "flex",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "store": False,
        "max_tool_calls": 3,
        "max_output_tokens": 9,
        "previous_response_id": "resp_g00bbbbbbbbbbbbbbbb",
        "reasoning": {"effort": "low"},
    }
    generate = read_responses({"input": "hi", "model": "m1", **given})[1]
    request = GenerationRequest([], "main", "m1", generate.params, generate.metadata)
    record = Generation(id=ID, user="alice", request=request)
    response = response_object(record, AnswerCollector(record).answer)
    expected = {**given, "reasoning": {"effort": "low", "summary": None}}
    assert {name: response[name] for name in given} == expected
    assert "max_tool_calls" not in request.params


@pytest.mark.parametrize("end", [FAILED, STOPPED])
def test_broken_chat_never_looks_complete(end: Event) -> None:
    """After a failure and a stop there is no `[DONE]`, and the body gets no end."""
    encoder = ENCODERS["chat"]()
    encode_all(encoder, [STARTED, text_delta("half"), end])
    assert encoder.is_broken
    aborted = ENCODERS["chat"]()
    assert b"[DONE]" not in aborted.abort("log_trimmed", "gone")
    assert aborted.is_broken
    assert not ENCODERS["chat"]().is_broken


REFUSED = event(
    "failed",
    code="upstream_status",
    message="the upstream answered 400: too long",
    retryable=False,
    upstream_status=400,
    upstream_code="context_length_exceeded",
    upstream_param="messages",
)


def test_refusal_of_the_upstream_in_a_stream() -> None:
    """The error has the upstream's code and field, and the type of a mistake of the caller."""
    expected = {
        "message": "the upstream answered 400: too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    assert decode_chunks("chat", [STARTED, text_delta("a"), REFUSED])[-1] == {"error": expected}
    error, failed = decode_chunks("responses", [STARTED, text_delta("a"), REFUSED])[-2:]
    assert (error["type"], error["error"]) == ("error", expected)
    assert [error[name] for name in ("code", "message", "param")] == [
        *("context_length_exceeded", expected["message"], "messages"),
    ]
    assert failed["sequence_number"] == error["sequence_number"] + 1
    assert failed["response"]["error"]["code"] == "context_length_exceeded"


def test_complete_chat_completion() -> None:
    """A complete answer has reasoning and tool calls, and null content if it has no text."""
    collected = AnswerCollector(RECORD)
    encode_all(collected, [*TOOLS[:2], *TOOLS[3:]])
    (choice,) = chat_completion(RECORD, collected.answer)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"a":1}'},
            },
            {
                "id": "call_b",
                "type": "function",
                "function": {"name": "time", "arguments": '{"b":2}'},
            },
        ],
    }


def test_response_events() -> None:
    """Events are numbered from 0; each item is opened, extended, and closed before the end."""
    chunks = decode_chunks("responses", TOOLS)
    assert [chunk["sequence_number"] for chunk in chunks] == list(range(len(chunks)))
    assert [chunk["type"].removeprefix("response.") for chunk in chunks] == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    whole = chunks[-1]["response"]
    assert (whole["id"], whole["status"]) == (f"resp_{ID}", "completed")
    assert whole["usage"]["total_tokens"] == 0  # clients require numbers
    assert pick_fields(whole["output"], "type", "call_id", "arguments", "status") == [
        ("reasoning", "completed"),
        ("message", "completed"),
        ("function_call", "call_a", '{"a":1}', "completed"),
        ("function_call", "call_b", '{"b":2}', "completed"),
    ]
    collected = AnswerCollector(RECORD)
    encode_all(collected, TOOLS)
    assert response_object(RECORD, collected.answer) == whole


def test_response_ends() -> None:
    """A response ends with a failure, a stop or too few tokens; a stop has no event of its own."""
    failed = decode_chunks("responses", [STARTED, text_delta("a"), FAILED])[-1]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "upstream_truncated", "message": "it broke off"}
    stopped = decode_chunks("responses", [STARTED, text_delta("a"), STOPPED])[-1]
    assert (stopped["type"], stopped["response"]["status"]) == ("response.incomplete", "cancelled")
    assert stopped["response"]["output"][0]["status"] == "incomplete"
    short = decode_chunks("responses", [STARTED, event("done", finish_reason="length")])[-1]
    assert short["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_response_status_before_the_end() -> None:
    """A response is queued before its first event and in progress after it."""
    collected = AnswerCollector(RECORD)
    assert response_object(RECORD, collected.answer)["status"] == "queued"
    encode_all(collected, [STARTED])
    assert response_object(RECORD, collected.answer)["status"] == "in_progress"


def test_ui_message_stream() -> None:
    """Parts are opened and closed, tool inputs are complete at the end, and `finish` is last."""
    chunks = decode_chunks("ui", TOOLS)
    assert pick_fields(chunks, "type", "id", "toolCallId") == [
        ("start",),
        ("start-step",),
        ("reasoning-start", "r0"),
        ("reasoning-delta", "r0"),
        ("reasoning-end", "r0"),
        ("text-start", "t1"),
        ("text-delta", "t1"),
        ("text-end", "t1"),
        ("tool-input-start", "call_a"),
        ("tool-input-start", "call_b"),
        ("tool-input-delta", "call_b"),
        ("tool-input-delta", "call_a"),
        ("tool-input-delta", "call_b"),
        ("tool-input-available", "call_a"),
        ("tool-input-available", "call_b"),
        ("finish-step",),
        ("finish",),
    ]
    assert chunks[0]["messageId"] == ID
    assert [chunk["input"] for chunk in chunks if "input" in chunk] == [{"a": 1}, {"b": 2}]
    assert chunks[-1]["finishReason"] == "tool-calls"


def test_ui_run_always_ends_with_finish() -> None:
    """Every run ends with `finish`, also a failed one; its metadata has the status."""
    for end, kind, status in ((STOPPED, "abort", "stopped"), (FAILED, "error", "failed")):
        chunks = decode_chunks("ui", [STARTED, text_delta("a"), end])
        assert pick_fields(chunks, "type")[-4:] == [
            ("text-end",), (kind,), ("finish-step",), ("finish",)
        ]  # fmt: skip
        assert chunks[-1]["messageMetadata"]["status"] == status


def test_ui_retracts_with_a_data_part_or_reset_step() -> None:
    """A retraction is one chunk with and without reset_step; the new text is a new part."""
    story = [STARTED, text_delta("a"), RESTARTED, text_delta("b"), DONE]
    safe, version_7 = decode_chunks("ui", story), decode_chunks("ui with reset-step", story)
    assert [chunk["type"] for chunk in safe[4:7]] == ["text-end", "data-generation", "text-start"]
    assert safe[5]["data"] == {"event": "restarted", "generation": ID}
    assert version_7[5] == {"type": "reset-step"}
    assert safe[:5] + safe[6:] == version_7[:5] + version_7[6:]


def test_ui_continues_a_message_of_the_client() -> None:
    """The continued message keeps the id that the client gave it."""
    request = GenerationRequest([Message("user", "hi")], "main", "m1", metadata={"message": "m7"})
    encoder = AiSdkEncoder(Generation(ID, "alice", request))
    assert json.loads(encoder.start()[0][6:])["messageId"] == "m7"


def test_ag_ui_events() -> None:
    """RUN_STARTED is first, and everything is closed before RUN_FINISHED."""
    chunks = decode_chunks("ag-ui", TOOLS)
    assert [chunk["type"] for chunk in chunks] == [
        *("RUN_STARTED", "CUSTOM", "REASONING_START", "REASONING_MESSAGE_START"),
        *("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS"),
        *("TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_END", "RUN_FINISHED"),
    ]
    assert chunks[-1]["result"] == {"finishReason": "tool_calls", "usage": None}
    parents = {chunk["parentMessageId"] for chunk in chunks if "parentMessageId" in chunk}
    assert parents == {chunks[7]["messageId"]}
    parents = {
        chunk.get("parentMessageId") for chunk in decode_chunks("ag-ui", [TOOLS[0], *TOOLS[3:]])
    }
    assert parents == {None, f"m_{ID}_calls"}


def test_ag_ui_retracts_with_a_snapshot_of_the_request() -> None:
    """The snapshot has nothing of the answer; the text after it is a new message."""
    chunks = decode_chunks("ag-ui", [STARTED, text_delta("a"), RESTARTED, text_delta("b"), DONE])
    kinds = [chunk["type"] for chunk in chunks]
    at = kinds.index("MESSAGES_SNAPSHOT")
    assert kinds[at - 1] == "TEXT_MESSAGE_END"
    assert chunks[at]["messages"] == [{"id": "u1", "role": "user", "content": "hi"}]
    ids = [chunk["messageId"] for chunk in chunks if chunk["type"] == "TEXT_MESSAGE_START"]
    assert len(set(ids)) == 2


def test_ag_ui_repeats_tool_calls_after_a_retraction() -> None:
    """The snapshot retracts tool calls too, so they are sent again if only the text changes."""
    call = tool_call_delta(0, '{"a":1}', id="call_a", name="weather")
    chunks = decode_chunks(
        "ag-ui", [STARTED, text_delta("a"), call, event("replaced", i=0, text="b"), DONE]
    )
    kinds = [chunk["type"] for chunk in chunks]
    after = kinds[kinds.index("MESSAGES_SNAPSHOT") :]
    assert after[4:] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "RUN_FINISHED"]
    assert chunks[-3]["delta"] == '{"a":1}'


def test_ag_ui_failure_is_a_run_error() -> None:
    """A failure ends the run with RUN_ERROR."""
    last = decode_chunks("ag-ui", [STARTED, text_delta("a"), FAILED])[-1]
    assert last == {"type": "RUN_ERROR", "message": "it broke off", "code": "upstream_truncated"}
    assert AgUiEncoder(RECORD).trailer == b""


def test_built_in_templates() -> None:
    """The built-in templates have the formats of older servers."""
    story = [STARTED, text_delta("Hel"), text_delta("lo\nyou"), DONE]
    assert b"".join(encode_all(ENCODERS["envelope"](), story)) == (
        b'data: {"code":200,"data":"Hel"}\n\n'
        b'data: {"code":200,"data":"lo\\nyou"}\n\n'
        b'data: {"code":-200}\n\n'
    )
    assert b"".join(encode_all(ENCODERS["text"](), story)) == (
        b"data: Hel\n\ndata: lo\ndata: you\n\ndata: stop\n\n"
    )
    assert encode_all(ENCODERS["text"](), [STARTED, FAILED])[0] == (
        b"event: error\ndata: it broke off\n\n"
    )
    failed = encode_all(TemplateEncoder(RECORD, BUILT_IN_TEMPLATES["envelope"]), [STARTED, FAILED])
    assert failed[0] == b'data: {"code":500,"message":"it broke off"}\n\n'
    assert failed[1] == b'data: {"code":-200}\n\n'


def test_custom_template() -> None:
    """A template has event names, an opening and placeholders; other braces stay unchanged."""
    template = output_template(
        opening={"id": "{generation}", "n": 1, "of": [None, "{other}"]},
        text={"t": "<{text}>"},
        reasoning="{text}",
        tool_calls={"calls": "{tool_calls}"},
        events={"opening": "open", "text": "msg", "error": "error"},
        error={"code": "{code}"},
    )
    story = [
        STARTED,
        reasoning_delta("hm"),
        text_delta("{code}"),
        tool_call_delta(0, "", id="c", name="f"),
        FAILED,
    ]
    opening, reasoning, text, calls, error = encode_all(TemplateEncoder(RECORD, template), story)
    assert (
        opening == b'event: open\ndata: {"id":"%b","n":1,"of":[null,"{other}"]}\n\n' % ID.encode()
    )
    assert (reasoning, text) == (b"data: hm\n\n", b'event: msg\ndata: {"t":"<{code}>"}\n\n')
    assert json.loads(calls[6:])["calls"][0]["id"] == "c"
    assert error == b'event: error\ndata: {"code":"upstream_truncated"}\n\n'
