"""A conversation with tools, images and parameters in the words of each wire format."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.stream_parts import Finished, TextDelta
from hub.errors import UpstreamError
from hub.upstreams.anthropic import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai_responses import OpenAiResponses
from tests.upstreams.kit import HEAD, Asked, ask, scripted, sends

SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: Final = {"name": "weather", "description": "It rains.", "parameters": SCHEMA}
TOOLS: Final = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "now"}},
]
NOTHING: Final = {"type": "object", "properties": {}}


def calling(id_: str, name: str, arguments: str) -> dict[str, Any]:
    """A call in an assistant's message."""
    function = {"name": name, "arguments": arguments}
    return {"id": id_, "type": "function", "function": function}


CALLS: Final = [calling("c1", "weather", '{"city":"Köln"}'), calling("c2", "now", "")]
TALK: Final = [
    Message("system", "be kind"),
    Message("user", "Which weather, and when?"),
    Message("assistant", "I look.", tool_calls=CALLS),
    Message("tool", "rain", tool_call_id="c1"),
    Message("tool", [{"type": "text", "text": "no"}, {"type": "text", "text": "on"}],
            tool_call_id="c2"),
    Message("user", "Thanks"),
]  # fmt: skip
PNG: Final = "data:image/png;base64,iVBORw0KGgo="
SHOWN: Final = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
]
LINKED: Final = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]

ANTHROPIC_TALK: Final = [
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
RESPONSES_TALK: Final = [
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


def body(dialect: Dialect, messages: list[Message], **params: Any) -> Any:
    """What goes over the wire."""
    upstream_request = dialect.build_request(GenerationRequest(messages, "u", "m", params))
    return json.loads(msgspec.json.encode(upstream_request.body))


def one(content: Any, role: str = "user") -> list[Message]:
    return [Message(role, content)]


def refusal(dialect: Dialect, messages: list[Message], **params: Any) -> str:
    """Why the question is not asked at all."""
    with pytest.raises(UpstreamError) as caught:
        body(dialect, messages, **params)
    error = caught.value
    assert (error.code, error.retryable) == ("upstream_unsupported", False)
    assert error.rejects_request
    return error.message


def test_anthropic_tools() -> None:
    """Calls and their results are blocks; the results of one turn are one message."""
    asked = body(AnthropicMessages({}), TALK, tools=TOOLS, parallel_tool_calls=False)
    assert asked == {
        "model": "m",
        "max_tokens": 4096,
        "system": "be kind",
        "messages": ANTHROPIC_TALK,
        "tools": [
            {"name": "weather", "description": "It rains.", "input_schema": SCHEMA},
            {"name": "now", "input_schema": NOTHING},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "told"),
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
def test_anthropic_tool_choice(choice: Any, parallel: bool | None, told: Any) -> None:
    """Each of chat's choices has a name there; one in the format's own words passes."""
    params = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": parallel}
    assert body(AnthropicMessages({}), TALK, **params)["tool_choice"] == told


def test_anthropic_params() -> None:
    """What has another name gets it, hints that have none are left out, its own words pass."""
    asked = body(
        AnthropicMessages({"output_config": {"effort": "high"}}),
        one("hi"),
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
    assert asked == {
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
    assert body(AnthropicMessages({}), one("hi"), reasoning_effort="none")["thinking"] == {
        "type": "disabled"
    }


def test_anthropic_images_and_files() -> None:
    """Inline and by address; blocks in the format's own words pass, with what they say."""
    own = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    result = {"type": "search_result", "source": "s"}
    pdf = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
    parts = [*SHOWN, *LINKED, own, result, {"type": "file", "file": pdf}]
    assert body(AnthropicMessages({}), one(parts))["messages"][0]["content"] == [
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
    seen = [Message("tool", SHOWN, tool_call_id="c1")]
    block = body(AnthropicMessages({}), seen)["messages"][0]["content"][0]
    assert [part["type"] for part in block["content"]] == ["text", "image"]


def test_anthropic_odd_turns() -> None:
    """Developers are the system, empty turns are left out, ids and arguments are made fit."""
    kept = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    talk = [
        Message("developer", [kept]),
        Message("user", "hi"),
        Message("assistant", None),
        Message("assistant", "", tool_calls=[calling("functions.f:0", "f", '{"cut')]),
        Message("tool", None, tool_call_id="functions.f:0"),
        Message("system", "b"),
    ]
    asked = body(AnthropicMessages({}), talk)
    assert asked["system"] == [kept, {"type": "text", "text": "b"}]
    use = {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"arguments": '{"cut'}}
    assert asked["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions_f_0"}]},
    ]


def test_responses_tools() -> None:
    """Calls and results are items of their own, tools are flat and not strict unless told."""
    named = {"type": "function", "function": {"name": "now"}}
    asked = body(OpenAiResponses({}), TALK, tools=TOOLS, tool_choice=named)
    flat = {"type": "function", "strict": False}
    assert asked == {
        "model": "m",
        "input": RESPONSES_TALK,
        "tools": [{**flat, **WEATHER}, {**flat, "name": "now", "parameters": NOTHING}],
        "tool_choice": {"type": "function", "name": "now"},
        "store": False,
        "stream": True,
    }


def test_responses_params() -> None:
    """Nested where they are nested there, beside what every request says; hints are left out."""
    asked = body(
        OpenAiResponses({"reasoning": {"summary": "auto"}}),
        one("hi"),
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
    assert asked == {
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
    """Input parts have names of their own; what an assistant said is a text."""
    file = {"type": "file", "file": {"file_id": "f1"}}
    said = [{"type": "text", "text": "It "}, {"type": "refusal", "refusal": "is."}]
    talk = [
        Message("user", [*SHOWN, *LINKED, file]),
        Message("assistant", said),
        Message("tool", SHOWN, tool_call_id="c1"),
    ]
    shown = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": PNG, "detail": "low"},
    ]
    linked = {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "auto"}
    assert body(OpenAiResponses({}), talk)["input"] == [
        {"role": "user", "content": [*shown, linked, {"type": "input_file", "file_id": "f1"}]},
        {"role": "assistant", "content": "It is."},
        {"type": "function_call_output", "call_id": "c1", "output": shown},
    ]


def test_ollama_tools() -> None:
    """Arguments are objects; a result names its tool."""
    asked = body(OllamaChat({}), TALK, tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
    assert asked == {
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
    assert "tools" not in body(OllamaChat({}), TALK, tools=TOOLS, tool_choice="none")


def test_ollama_images_and_params() -> None:
    """Images stand beside the text; what is no option stands beside the options."""
    asked = body(
        OllamaChat({}),
        [Message("developer", "d"), *one(SHOWN)],
        max_completion_tokens=7,
        stop=["a"],
        seed=1,
        user="alice",
        num_ctx=100,
        reasoning_effort="none",
        response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    )
    assert asked == {
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
    assert body(OllamaChat({}), one("hi"), response_format=json_object)["format"] == "json"
    assert body(OllamaChat({}), one("hi"), reasoning_effort="high")["think"] == "high"


def test_dashscope_tools() -> None:
    """OpenAI's form, but contents are texts and a result names its tool."""
    asked = body(DashScope({}), TALK, tools=TOOLS, tool_choice="auto", max_completion_tokens=7)
    assert asked["input"]["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "Which weather, and when?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [CALLS[0], calling("c2", "now", "{}")],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "tool", "content": "noon", "tool_call_id": "c2", "name": "now"},
        {"role": "user", "content": "Thanks"},
    ]
    assert asked["parameters"] == {
        "result_format": "message",
        "incremental_output": True,
        "tools": TOOLS,
        "tool_choice": "auto",
        "max_tokens": 7,
    }
    told = body(DashScope({"incremental_output": False}), one("hi"), incremental_output=True)
    assert told["parameters"]["incremental_output"] is False  # it says how the answer is read


@pytest.mark.parametrize(
    ("dialect", "messages", "params", "why"),
    [
        (AnthropicMessages({}), one("hi"), {"response_format": {"type": "json_object"}},
         "json_schema"),
        (AnthropicMessages({}), one("hi"), {"audio": {"voice": "a"}}, "audio"),
        (AnthropicMessages({}), one("hi"), {"n": 2}, "n"),
        (AnthropicMessages({}), one([{"type": "input_audio", "input_audio": {}}]), {}, "audio"),
        (AnthropicMessages({}), one([{"type": "file", "file": {"file_id": "f"}}]), {}, "file"),
        (AnthropicMessages({}), one([{"type": "image_url", "image_url": {"url": "data:,a"}}]), {},
         "base64"),
        (OpenAiResponses({}), one("hi"), {"stop": ["a"]}, "stop"),
        (OllamaChat({}), one("hi"), {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        (OllamaChat({}), one(LINKED), {}, "data: URL"),
        (DashScope({}), one(SHOWN), {}, "image"),
        (DashScope({}), one("hi"), {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_say_is_refused(
    dialect: Dialect, messages: list[Message], params: dict[str, Any], why: str
) -> None:
    """A demand that would be lost without a word is one sentence, and nothing is asked."""
    assert why in refusal(dialect, messages, **params)


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
def test_what_is_no_question_is_refused(
    dialect: Dialect, message: Message, params: dict[str, Any]
) -> None:
    """Junk is the caller's mistake in every format, never a crash."""
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
        (AnthropicMessages({}), b"/v1/messages", ("messages", ANTHROPIC_TALK), ANTHROPIC_END),
        (OpenAiResponses({}), b"/v1/responses", ("input", RESPONSES_TALK), RESPONSES_END),
    ],
)
async def test_parallel_calls_arrive(
    dialect: Dialect, path: bytes, conversation: tuple[str, Any], end: bytes
) -> None:
    """Over real HTTP a server gets two calls and their results in its own words, and answers."""
    asked = Asked()
    question = GenerationRequest(TALK, upstream="u", model="m", params={"tools": TOOLS})
    async with scripted(sends(HEAD, end), asked) as url:
        pieces = await ask(url, question, dialect=dialect)
    assert pieces == [TextDelta("ok"), Finished("stop")]
    assert asked.head.startswith(b"POST " + path + b" ")
    field, told = conversation
    assert asked.body[field] == told
    assert [tool["name"] for tool in asked.body["tools"]] == ["weather", "now"]
