"""Conversations with tools, images and parameters, converted to each wire format."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Text
from hub.errors import UpstreamError
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.responses import OpenAiResponses
from tests.upstreams.kit import HEAD, ReceivedRequest, collect, scripted_server, send_chunks

SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: Final = {"name": "weather", "description": "It rains.", "parameters": SCHEMA}
TOOLS: Final = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "now"}},
]
NO_PARAMETERS: Final = {"type": "object", "properties": {}}


def tool_call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call of an assistant's message."""
    function = {"name": name, "arguments": arguments}
    return {"id": id_, "type": "function", "function": function}


CALLS: Final = [tool_call("c1", "weather", '{"city":"Köln"}'), tool_call("c2", "now", "")]
CONVERSATION: Final = [
    Message("system", "be kind"),
    Message("user", "Which weather, and when?"),
    Message("assistant", "I look.", tool_calls=CALLS),
    Message("tool", "rain", tool_call_id="c1"),
    Message("tool", [{"type": "text", "text": "no"}, {"type": "text", "text": "on"}],
            tool_call_id="c2"),
    Message("user", "Thanks"),
]  # fmt: skip
PNG: Final = "data:image/png;base64,iVBORw0KGgo="
IMAGE_PARTS: Final = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
]
IMAGE_URL_PARTS: Final = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]

ANTHROPIC_MESSAGES: Final = [
    {"role": "user", "content": "Which weather, and when?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Köln"}},
            {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "noon"},
        ],
    },
    {"role": "user", "content": "Thanks"},
]
RESPONSES_INPUT: Final = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "Which weather, and when?"},
    {"role": "assistant", "content": "I look."},
    {
        "type": "function_call",
        "call_id": "c1",
        "name": "weather",
        "arguments": '{"city":"Köln"}',
    },
    {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    {"type": "function_call_output", "call_id": "c2", "output": "noon"},
    {"role": "user", "content": "Thanks"},
]
OLLAMA_CALLS: Final = [
    {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Köln"}}},
    {"id": "c2", "function": {"name": "now", "arguments": {}}},
]


def build_body(dialect: Dialect, messages: list[Message], **params: Any) -> Any:
    """Return the body that is sent."""
    upstream_request = dialect.build_request(GenerationRequest(messages, "u", "m", params))
    return json.loads(msgspec.json.encode(upstream_request.body))


def prompt(content: Any) -> list[Message]:
    """Return a conversation of one user message."""
    return [Message("user", content)]


def refusal(dialect: Dialect, messages: list[Message], **params: Any) -> str:
    """Return the message of the error for a request that is not sent."""
    with pytest.raises(UpstreamError) as caught:
        build_body(dialect, messages, **params)
    error = caught.value
    assert (error.code, error.retryable) == ("upstream_unsupported", False)
    assert error.rejects_request
    return error.message


def test_anthropic_tools() -> None:
    """Tool calls and results are blocks; consecutive results are one message."""
    sent = build_body(AnthropicMessages({}), CONVERSATION, tools=TOOLS, parallel_tool_calls=False)
    assert sent == {
        "model": "m",
        "max_tokens": 4096,
        "system": "be kind",
        "messages": ANTHROPIC_MESSAGES,
        "tools": [
            {"name": "weather", "description": "It rains.", "input_schema": SCHEMA},
            {"name": "now", "input_schema": NO_PARAMETERS},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        (
            {"type": "function", "function": {"name": "now"}},
            False,
            {"type": "tool", "name": "now", "disable_parallel_tool_use": True},
        ),
        ({"type": "any"}, None, {"type": "any"}),
    ],
)
def test_anthropic_tool_choice(choice: Any, parallel: bool | None, expected: Any) -> None:
    """Each choice of chat completions is converted; Anthropic's own are passed on."""
    params = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": parallel}
    assert build_body(AnthropicMessages({}), CONVERSATION, **params)["tool_choice"] == expected


def test_anthropic_params() -> None:
    """Parameters are renamed, hints are left out, and Anthropic's own are passed on."""
    sent = build_body(
        AnthropicMessages({"output_config": {"effort": "high"}}),
        prompt("hi"),
        max_tokens=5,
        max_completion_tokens=7,
        stop="END",
        temperature=1.5,
        top_p=None,
        seed=1,
        frequency_penalty=0.5,
        user="alice",
        service_tier="flex",
        reasoning_effort="minimal",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        thinking={"type": "adaptive"},
        top_k=3,
    )
    assert sent == {
        "model": "m",
        "max_tokens": 7,
        "stop_sequences": ["END"],
        "temperature": 1,
        "metadata": {"user_id": "alice"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "thinking": {"type": "adaptive"},
        "top_k": 3,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    assert build_body(AnthropicMessages({}), prompt("hi"), reasoning_effort="none")["thinking"] == {
        "type": "disabled"
    }


def test_anthropic_images_and_files() -> None:
    """Images and files are converted by data or URL; Anthropic's own blocks are passed on."""
    own = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    result = {"type": "search_result", "source": "s"}
    pdf = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
    parts = [*IMAGE_PARTS, *IMAGE_URL_PARTS, own, result, {"type": "file", "file": pdf}]
    assert build_body(AnthropicMessages({}), prompt(parts))["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        own,
        result,
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        },
    ]
    seen = [Message("tool", IMAGE_PARTS, tool_call_id="c1")]
    block = build_body(AnthropicMessages({}), seen)["messages"][0]["content"][0]
    assert [part["type"] for part in block["content"]] == ["text", "image"]


def test_anthropic_unusual_messages() -> None:
    """`developer` is `system`, empty messages are dropped, ids and arguments are corrected."""
    kept = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    messages = [
        Message("developer", [kept]),
        Message("user", "hi"),
        Message("assistant", None),
        Message("assistant", "", tool_calls=[tool_call("functions.f:0", "f", '{"cut')]),
        Message("tool", None, tool_call_id="functions.f:0"),
        Message("system", "b"),
    ]
    sent = build_body(AnthropicMessages({}), messages)
    assert sent["system"] == [kept, {"type": "text", "text": "b"}]
    use = {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"arguments": '{"cut'}}
    assert sent["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions_f_0"}]},
    ]


def test_responses_tools() -> None:
    """Calls and results are separate items; tools are flat, and not strict by default."""
    named = {"type": "function", "function": {"name": "now"}}
    sent = build_body(OpenAiResponses({}), CONVERSATION, tools=TOOLS, tool_choice=named)
    flat = {"type": "function", "strict": False}
    assert sent == {
        "model": "m",
        "input": RESPONSES_INPUT,
        "tools": [{**flat, **WEATHER}, {**flat, "name": "now", "parameters": NO_PARAMETERS}],
        "tool_choice": {"type": "function", "name": "now"},
        "store": False,
        "stream": True,
    }


def test_responses_params() -> None:
    """Nested parameters are merged with those of the settings; hints are left out."""
    sent = build_body(
        OpenAiResponses({"reasoning": {"summary": "auto"}}),
        prompt("hi"),
        max_completion_tokens=7,
        reasoning_effort="low",
        verbosity="low",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "now"}}],
            },
        },
        tools=[{"type": "web_search"}],
        seed=1,
        presence_penalty=1,
        stream_options={"include_usage": True},
        user="alice",
        truncation="auto",
    )
    assert sent == {
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
        "max_output_tokens": 7,
        "reasoning": {"summary": "auto", "effort": "low"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": SCHEMA},
        },
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "now"}],
        },
        "tools": [{"type": "web_search"}],
        "user": "alice",
        "truncation": "auto",
        "store": False,
        "stream": True,
    }


def test_responses_parts() -> None:
    """Input parts are converted; the content of an assistant becomes text."""
    file = {"type": "file", "file": {"file_id": "f1"}}
    parts = [{"type": "text", "text": "It "}, {"type": "refusal", "refusal": "is."}]
    messages = [
        Message("user", [*IMAGE_PARTS, *IMAGE_URL_PARTS, file]),
        Message("assistant", parts),
        Message("tool", IMAGE_PARTS, tool_call_id="c1"),
    ]
    shown = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": PNG, "detail": "low"},
    ]
    image_url = {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "auto"}
    assert build_body(OpenAiResponses({}), messages)["input"] == [
        {"role": "user", "content": [*shown, image_url, {"type": "input_file", "file_id": "f1"}]},
        {"role": "assistant", "content": "It is."},
        {"type": "function_call_output", "call_id": "c1", "output": shown},
    ]


def test_ollama_tools() -> None:
    """Arguments are objects, and a result holds the name of its tool."""
    sent = build_body(
        OllamaChat({}), CONVERSATION, tools=TOOLS, tool_choice="auto", parallel_tool_calls=True
    )
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "Which weather, and when?"},
            {"role": "assistant", "content": "I look.", "tool_calls": OLLAMA_CALLS},
            {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "c1"},
            {"role": "tool", "content": "noon", "tool_name": "now", "tool_call_id": "c2"},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": TOOLS,
        "stream": True,
    }
    assert "tools" not in build_body(OllamaChat({}), CONVERSATION, tools=TOOLS, tool_choice="none")


def test_ollama_images_and_params() -> None:
    """Images and parameters that are not options have fields of their own."""
    sent = build_body(
        OllamaChat({}),
        [Message("developer", "d"), *prompt(IMAGE_PARTS)],
        max_completion_tokens=7,
        stop=["a"],
        seed=1,
        user="alice",
        num_ctx=100,
        reasoning_effort="none",
        response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    )
    assert sent == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "d"},
            {"role": "user", "content": "What is it?", "images": ["iVBORw0KGgo="]},
        ],
        "options": {"num_predict": 7, "stop": ["a"], "seed": 1, "num_ctx": 100},
        "think": False,
        "format": SCHEMA,
        "stream": True,
    }
    json_object = {"type": "json_object"}
    assert build_body(OllamaChat({}), prompt("hi"), response_format=json_object)["format"] == "json"
    assert build_body(OllamaChat({}), prompt("hi"), reasoning_effort="high")["think"] == "high"


def test_dashscope_tools() -> None:
    """The form is OpenAI's, but contents are text and a result holds the name of its tool."""
    sent = build_body(
        DashScope({}), CONVERSATION, tools=TOOLS, tool_choice="auto", max_completion_tokens=7
    )
    assert sent["input"]["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "Which weather, and when?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [CALLS[0], tool_call("c2", "now", "{}")],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "tool", "content": "noon", "tool_call_id": "c2", "name": "now"},
        {"role": "user", "content": "Thanks"},
    ]
    assert sent["parameters"] == {
        "result_format": "message",
        "incremental_output": True,
        "tools": TOOLS,
        "tool_choice": "auto",
        "max_tokens": 7,
    }
    sent = build_body(
        DashScope({"incremental_output": False}), prompt("hi"), incremental_output=True
    )
    # The setting wins: it decides how the response is read.
    assert sent["parameters"]["incremental_output"] is False


@pytest.mark.parametrize(
    ("dialect", "messages", "params", "reason"),
    [
        (AnthropicMessages({}), prompt("hi"), {"response_format": {"type": "json_object"}},
         "json_schema"),
        (AnthropicMessages({}), prompt("hi"), {"audio": {"voice": "a"}}, "audio"),
        (AnthropicMessages({}), prompt("hi"), {"n": 2}, "n"),
        (AnthropicMessages({}), prompt([{"type": "input_audio", "input_audio": {}}]), {}, "audio"),
        (AnthropicMessages({}), prompt([{"type": "file", "file": {"file_id": "f"}}]), {}, "file"),
        (AnthropicMessages({}),
         prompt([{"type": "image_url", "image_url": {"url": "data:,a"}}]), {}, "base64"),
        (OpenAiResponses({}), prompt("hi"), {"stop": ["a"]}, "stop"),
        (OllamaChat({}), prompt("hi"), {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        (OllamaChat({}), prompt(IMAGE_URL_PARTS), {}, "data: URL"),
        (DashScope({}), prompt(IMAGE_PARTS), {}, "image"),
        (DashScope({}), prompt("hi"), {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
    ],
)  # fmt: skip
def test_unsupported_request(
    dialect: Dialect, messages: list[Message], params: dict[str, Any], reason: str
) -> None:
    """A request that the format cannot express is refused with one sentence and not sent."""
    assert reason in refusal(dialect, messages, **params)


@pytest.mark.parametrize(
    "dialect", [AnthropicMessages({}), OpenAiResponses({}), OllamaChat({}), DashScope({})]
)
@pytest.mark.parametrize(
    ("message", "params"),
    [
        (Message("user", 5), {}),
        (Message("user", ["a"]), {}),
        (Message("user", [{"type": "text"}]), {}),
        (Message("user", [{"type": "image_url", "image_url": {"url": 1}}]), {}),
        (Message("assistant", tool_calls=["a"]), {}),
        (Message("assistant", tool_calls=[{"id": "c", "custom": {"name": "a"}}]), {}),
        (Message("user", "hi"), {"tools": "all"}),
        (Message("user", "hi"), {"tools": [{"type": "function", "function": {"name": 1}}]}),
        (Message("user", "hi"), {"tools": TOOLS, "tool_choice": 5}),
        (Message("user", "hi"), {"n": 2}),
    ],
)
def test_invalid_request(dialect: Dialect, message: Message, params: dict[str, Any]) -> None:
    """Invalid input is a rejected request in every format, not a crash."""
    assert refusal(dialect, [message], **params)


ANTHROPIC_END: Final = (
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ok"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)
RESPONSES_END: Final = (
    b'data: {"type":"response.output_text.delta","delta":"ok"}\n\n'
    b'data: {"type":"response.completed","response":{}}\n\n'
)


@pytest.mark.parametrize(
    ("dialect", "path", "conversation", "end"),
    [
        (AnthropicMessages({}), b"/v1/messages", ("messages", ANTHROPIC_MESSAGES), ANTHROPIC_END),
        (OpenAiResponses({}), b"/v1/responses", ("input", RESPONSES_INPUT), RESPONSES_END),
    ],
)
async def test_parallel_calls_arrive(
    dialect: Dialect, path: bytes, conversation: tuple[str, Any], end: bytes
) -> None:
    """Over HTTP, a server receives two tool calls and their results in its format."""
    received = ReceivedRequest()
    request = GenerationRequest(CONVERSATION, upstream="u", model="m", params={"tools": TOOLS})
    async with scripted_server(send_chunks(HEAD, end), received) as url:
        answer_parts = await collect(url, request, dialect=dialect)
    assert answer_parts == [Text("ok"), Finished("stop")]
    assert received.head.startswith(b"POST " + path + b" ")
    field, expected = conversation
    assert received.body[field] == expected
    assert [tool["name"] for tool in received.body["tools"]] == ["weather", "now"]
