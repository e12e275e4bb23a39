"""Null means absent in the objects of the dialects that no Struct describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.ag_ui.requests import RunAgentInput, to_request
from hub.compat.ai_sdk import requests as ai_sdk
from hub.compat.openai_chat import requests as openai_chat
from hub.compat.openai_responses import requests as openai_responses

NAMES: Final = (
    *("type", "id", "status", "role", "name", "content", "arguments", "text", "refusal", "detail"),
    *("annotations", "logprobs", "summary", "encrypted_content", "reasoning_details", "file_id"),
    *("file_data", "file_url", "filename", "description", "parameters", "strict", "schema"),
    *("state", "input", "rawInput", "output", "errorText", "approval", "providerMetadata"),
    *("callProviderMetadata", "mediaType", "mimeType", "url", "value", "data", "phase"),
    *("providerExecuted", "preliminary", "title", "reason", "effort", "format", "verbosity"),
)
"""The optional fields that the objects of these dialects have."""

CALL: Final = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT: Final = {"type": "function_call_output", "call_id": "c", "output": "7"}
TOOL: Final = {"type": "tool-f", "toolCallId": "c", "state": "output-available", "output": 1}

Request = Callable[[dict[str, Any]], GenerateBody]


def responses(**fields: Any) -> GenerateBody:
    return openai_responses.read_responses({"input": "hi", **fields})[1]


def ui_parts(role: str) -> Request:
    return lambda part: ai_sdk.read_chat({"messages": [{"role": role, "parts": [part]}]})[1]


def run_input(content: list[dict[str, Any]]) -> GenerateBody:
    message = {"role": "user", "content": content}
    run = {"threadId": "t", "runId": "r", "messages": [message]}
    body = convert_json(run, RunAgentInput)
    return to_request(body, body.props)


CASES: Final[dict[str, tuple[Request, dict[str, Any]]]] = {
    "a message": (lambda item: responses(input=[item]), {"role": "user", "content": "hi"}),
    "a call": (lambda item: responses(input=[item, OUTPUT]), CALL),
    "an output": (lambda item: responses(input=[CALL, item]), OUTPUT),
    "a reasoning item": (
        lambda item: responses(input=[item, {"role": "assistant", "content": "yes"}]),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    ),
    "a text part": (
        lambda part: responses(input=[{"role": "user", "content": [part]}]),
        {"type": "input_text", "text": "hi"},
    ),
    "a refusal": (
        lambda part: responses(input=[{"role": "assistant", "content": [part]}]),
        {"type": "refusal", "refusal": "no"},
    ),
    "an image": (
        lambda part: responses(input=[{"role": "user", "content": [part]}]),
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
    ),
    "a tool": (
        lambda tool: without_echo(responses(tools=[tool])),
        {"type": "function", "name": "f"},
    ),
    "text options": (
        lambda form: without_echo(responses(text={"format": form})),
        {"type": "json_schema", "name": "f", "schema": {}},
    ),
    "a chat message": (
        lambda message: openai_chat.read_chat({"messages": [message]})[1],
        {"role": "user", "content": "hi"},
    ),
    "a UI message": (
        lambda message: ai_sdk.read_chat({"messages": [message]})[1],
        {"role": "user", "parts": [{"type": "text", "text": "hi"}]},
    ),
    "a UI text": (ui_parts("user"), {"type": "text"}),
    "a UI answer": (ui_parts("assistant"), {"type": "text", "text": "hi"}),
    "a UI file": (ui_parts("user"), {"type": "file", "mediaType": "image/png", "url": "x:y"}),
    "a UI tool": (ui_parts("assistant"), TOOL),
    "an AG-UI image": (
        lambda source: run_input([{"type": "image", "source": source}]),
        {"type": "data", "value": "AA=="},
    ),
    "an AG-UI part": (lambda part: run_input([part]), {"type": "binary", "data": "AA=="}),
}


def without_echo(body: GenerateBody) -> GenerateBody:
    """Return the body without what the response object repeats as the client sent it."""
    return GenerateBody(messages=body.messages, params=body.params)


def with_nulls(value: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {**dict.fromkeys(names), **value}


@pytest.mark.parametrize("case", CASES)
def test_null_field_of_an_object(case: str) -> None:
    """An object with null in any optional field, or in all of them, equals the object without."""
    request, value = CASES[case]
    expected = request(value)
    for names in (NAMES, *((name,) for name in NAMES)):
        assert request(with_nulls(value, names)) == expected, names
