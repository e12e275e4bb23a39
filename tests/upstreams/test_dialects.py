"""The events and the requests of each wire format, without a network."""

from __future__ import annotations

import json
import typing
from typing import Any

import msgspec
import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.errors import UpstreamError
from hub.settings.models import A2A_KIND, FUNCTION_KIND, QUEUE_KIND, UpstreamKind
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.envelope import Envelope
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.reading.stream_reader import StreamReader
from hub.wiring.upstreams import DIALECTS
from tests.defaults import envelope_rules

MESSAGES = [Message("system", "be kind"), Message("user", "hi")]
REQUEST = GenerationRequest(MESSAGES, "u", "m", {"temperature": 0.5, "max_tokens": 9})
CUMULATIVE = DashScope({"incremental_output": False})


def read(dialect: Dialect, *chunks: bytes | dict[str, Any]) -> list[Part]:
    """Return the parts of a response; a dict is the JSON of one event."""
    reader = StreamReader(dialect, 10_000, ())
    parts: list[Part] = []
    ndjson = "ndjson" in dialect.framing.media_type
    for chunk in chunks:
        if isinstance(chunk, dict):
            text = json.dumps(chunk).encode()
            parts += reader.feed(text + b"\n" if ndjson else b"data: " + text + b"\n\n")
        else:
            parts += reader.feed(chunk)
        if reader.failure:
            raise reader.failure
    parts += reader.end()
    if reader.failure:
        raise reader.failure
    return parts + reader.finish()


def call(index: int, *, id_: str | None = None, name: str | None = None, arguments: str) -> Any:
    """Return a delta of a tool call in OpenAI's form."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    head = {} if id_ is None else {"id": id_, "type": "function"}
    return {"index": index, **head, "function": function}


def test_openai_refusal() -> None:
    """A refusal is text, and the finish reason is `refusal`."""
    delta = {"choices": [{"delta": {"refusal": "No."}}]}
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    assert read(OpenAiChat({}), delta, end) == [Text("No."), Finished("refusal")]


def test_openai_unknown_chunks_are_skipped() -> None:
    """JSON of an unknown shape is skipped."""
    chunks = ({"choices": ""}, {"object": "ping"}, b"data: 5\n\n")
    end = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}
    assert read(OpenAiChat({}), *chunks, end) == [Text("a"), Finished("stop")]


def test_openai_half_characters() -> None:
    """A surrogate pair that is split over two deltas becomes one character."""
    halves = [
        b'data: {"choices":[{"delta":{"content":"a\\ud83c"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\udf05b"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"c"},"finish_reason":"stop"}]}\n\n',
    ]
    assert read(OpenAiChat({}), *halves) == [
        Text("a"),
        Text("🌅b"),
        Text("c"),
        Finished("stop"),
    ]
    last = b'data: {"choices":[{"delta":{"content":"\\ud83c"},"finish_reason":"stop"}]}\n\n'
    assert read(OpenAiChat({}), last) == [Text(""), Text("\ufffd"), Finished("stop")]


def test_responses_tools_and_reasoning() -> None:
    """Tool calls are identified by their output index."""
    parts = read(
        OpenAiResponses({}),
        {"type": "response.created", "response": {}},
        {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
        {"type": "response.brand_new", "delta": {"odd": 1}},
        {
            "type": "response.completed",
            "response": {"usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}},
        },
    )
    assert parts == [
        Reasoning("hm"),
        ToolCallDelta([call(0, id_="c1", name="f", arguments="")]),
        ToolCallDelta([call(0, arguments='{"a"')]),
        Usage({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        Finished("tool_calls"),
    ]


def test_responses_incomplete() -> None:
    """An answer that reaches the token limit is finished with the reason `length`."""
    end = {"incomplete_details": {"reason": "max_output_tokens"}}
    assert read(OpenAiResponses({}), {"type": "response.incomplete", "response": end}) == [
        Finished("length")
    ]


def test_anthropic_tools_and_thinking() -> None:
    """Blocks are identified by their index, and unknown events are skipped."""
    tool = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    parts = read(
        AnthropicMessages({}),
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "hm"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "x"},
        },
        {"type": "brand_new"},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    )
    assert parts == [
        Usage({"prompt_tokens": 5, "completion_tokens": 1}),
        Reasoning("hm"),
        ToolCallDelta([call(0, id_="t1", name="f", arguments="")]),
        ToolCallDelta([call(0, arguments='{"a":1}')]),
        ReasoningDetails(
            [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "x",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                }
            ]
        ),
        Usage({"completion_tokens": 7}),
        Finished("tool_calls"),
    ]


def test_ollama_tools_and_thinking() -> None:
    """Calls arrive complete, and their arguments become JSON text."""
    arguments = {"city": "Köln"}
    parts = read(
        OllamaChat({}),
        {"message": {"thinking": "hm"}, "done": False},
        {
            "message": {
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]
            }
        },
        {"done": True, "done_reason": "stop", "prompt_eval_count": 2, "eval_count": 3},
    )
    assert parts == [
        Reasoning("hm"),
        ToolCallDelta([call(0, id_="c", name="f", arguments="")]),
        Usage({"prompt_tokens": 2, "completion_tokens": 3}),
        ToolCallDelta([call(0, arguments='{"city":"Köln"}')]),
        Finished("tool_calls"),
    ]


def test_dashscope_incremental() -> None:
    """Events hold new text, reasoning and tool calls; an equal event repeats its text."""

    def event(finish: str = "null", **fields: Any) -> dict[str, Any]:
        message = {"content": "", "reasoning_content": "", **fields}
        return {"output": {"choices": [{"message": message, "finish_reason": finish}]}}

    def part(arguments: str, **head: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **({"name": head.pop("name")} if head else {})}
        return {"index": 0, "id": "", "type": "function", "function": function, **head}

    first, second = part("", name="f", id="c0"), part('{"a":1}')
    parts = read(
        DashScope({}),
        event(reasoning_content="hm"),
        event(reasoning_content="hm"),
        event(content="ha"),
        event(content="ha"),
        event(content="!"),
        event(tool_calls=[first]),
        event(tool_calls=[second]),
        event("tool_calls"),
    )
    assert parts == [
        *[Reasoning("hm"), Reasoning("hm")],
        *[Text("ha"), Text("ha"), Text("!")],
        ToolCallDelta([call(0, id_="c0", name="f", arguments='{"a":1}')]),
        Finished("tool_calls"),
    ]


def test_dashscope_messages() -> None:
    """With all text so far, a changed text replaces, and a shorter repetition is ignored."""

    def event(text: str, reasoning: str = "", finish: str = "null") -> dict[str, Any]:
        message = {"content": text, "reasoning_content": reasoning}
        return {"output": {"choices": [{"message": message, "finish_reason": finish}]}}

    parts = read(
        CUMULATIVE,
        event("", "我"),
        event("", "我想"),
        event("我是", "我想"),
        event("我", "我想"),
        event("我是阿里"),
        event("你是阿里"),
        event("你是阿里!", finish="stop"),
    )
    assert parts == [
        Reasoning("我"),
        Reasoning("想"),
        Text("我是"),
        Text("阿里"),
        Replace("你是阿里"),
        Text("!"),
        Finished("stop"),
    ]


def test_dashscope_tools() -> None:
    """Each event repeats the calls so far; only their new parts are returned."""

    def event(*calls: tuple[str, str], finish: str = "null") -> dict[str, Any]:
        tool_calls = [
            {
                "index": n,
                "id": f"c{n}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for n, (name, arguments) in enumerate(calls)
        ]
        message = {"content": "", "tool_calls": tool_calls}
        return {"output": {"choices": [{"message": message, "finish_reason": finish}]}}

    parts = read(
        CUMULATIVE,
        event(("f", "")),
        event(("f", '{"a"')),
        event(("f", '{"a":1}'), ("g", "{}")),
        event(("f", '{"a":1}'), ("g", "{}"), finish="tool_calls"),
    )
    assert parts == [
        ToolCallDelta([call(0, id_="c0", name="f", arguments='{"a"')]),
        ToolCallDelta([call(0, arguments=":1}"), call(1, id_="c1", name="g", arguments="{}")]),
        Finished("tool_calls"),
    ]
    with pytest.raises(UpstreamError, match="changed the arguments"):
        read(CUMULATIVE, event(("f", '{"a"')), event(("f", '{"b"')))


def test_envelope_end_that_carries_text() -> None:
    """An end event may hold the last text; an end code holds none."""
    rules = envelope_rules(
        request={}, json_data=False, text="", text_mode="cumulative", end_events=("finish",)
    )
    stream = b"event: add\ndata: Hel\n\n", b"event: finish\ndata: Hello\n\n"
    assert read(Envelope(rules), *stream) == [Text("Hel"), Text("lo"), Finished("stop")]
    rules = envelope_rules(
        request={}, ok_field="code", ok_values=(200,), end_field="code", end_values=(-200,)
    )
    events = {"code": 200, "data": "a"}, {"code": -200, "data": "完成"}
    assert read(Envelope(rules), *events) == [Text("a"), Finished("stop")]


def test_envelope_deep_text_and_ndjson() -> None:
    """The text may be at any path, and a line is an event."""
    rules = envelope_rules(
        request={}, framing="ndjson", text="result.parts.0.t", end_field="last", end_values=(True,)
    )
    lines = {"result": {"parts": [{"t": "a"}]}}, {"result": {"parts": [{"t": "b"}]}, "last": True}
    assert read(Envelope(rules), *lines) == [Text("a"), Text("b"), Finished("stop")]


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        (
            OpenAiChat({"user": "hub", "temperature": 1}),
            "/chat/completions",
            {
                "user": "hub",
                "temperature": 0.5,
                "max_tokens": 9,
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "hi"},
                ],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        ),
        (
            OpenAiResponses({}),
            "/responses",
            {
                "store": False,
                "temperature": 0.5,
                "max_output_tokens": 9,
                "model": "m",
                "input": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "hi"},
                ],
                "stream": True,
            },
        ),
        (
            AnthropicMessages({}),
            "/messages",
            {
                "max_tokens": 9,
                "temperature": 0.5,
                "system": "be kind",
                "model": "m",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
            },
        ),
        (
            OllamaChat({"keep_alive": "5m"}),
            "/api/chat",
            {
                "keep_alive": "5m",
                "options": {"temperature": 0.5, "num_predict": 9},
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "hi"},
                ],
                "stream": True,
            },
        ),
        (
            DashScope({}),
            "/services/aigc/text-generation/generation",
            {
                "model": "m",
                "input": {
                    "messages": [
                        {"role": "system", "content": "be kind"},
                        {"role": "user", "content": "hi"},
                    ]
                },
                "parameters": {
                    "result_format": "message",
                    "incremental_output": True,
                    "temperature": 0.5,
                    "max_tokens": 9,
                },
            },
        ),
        (
            Envelope(
                envelope_rules(
                    path="/ask",
                    request={"q": "[{model}] {prompt}", "h": "{messages}", "p": "{params}", "n": 1},
                )
            ),
            "/ask",
            {
                "q": "[m] hi",
                "h": [
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "hi"},
                ],
                "p": {"temperature": 0.5, "max_tokens": 9},
                "n": 1,
            },
        ),
    ],
)
def test_request(dialect: Dialect, path: str, body: dict[str, Any]) -> None:
    """The request has the path and the body of the wire format."""
    upstream_request = dialect.build_request(REQUEST)
    assert dialect.path == path
    assert json.loads(msgspec.json.encode(upstream_request.body)) == body


def test_last_line_without_its_end() -> None:
    """The last line may lack its newline: a finish or an error in it counts."""
    first_line = {"message": {"content": "a"}}
    last = b'{"done":true,"done_reason":"stop"}'
    assert read(OllamaChat({}), first_line, last) == [Text("a"), Finished("stop")]
    with pytest.raises(UpstreamError, match="no such model"):
        read(OllamaChat({}), b'{"error":"no such model"}')
    with pytest.raises(UpstreamError) as caught:
        read(OllamaChat({}), first_line, b'{"done":tr')
    assert caught.value.code == "upstream_truncated"


def test_message_stop_without_a_reason() -> None:
    """Anthropic's last event alone completes no answer, as `[DONE]` alone does not."""
    text = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}
    for last in ({"type": "message_delta", "delta": {"stop_reason": None}}, {"type": "ping"}):
        with pytest.raises(UpstreamError) as caught:
            read(AnthropicMessages({}), text, last, {"type": "message_stop"})
        assert caught.value.code == "upstream_truncated"


def test_settings_and_dialects_agree() -> None:
    """Each kind of one response has exactly one dialect, and a header for the key."""
    assert sorted([*DIALECTS, Envelope.kind, A2A_KIND, FUNCTION_KIND, QUEUE_KIND]) == sorted(
        typing.get_args(UpstreamKind)
    )
    assert AnthropicMessages.auth_header.build("k") == {"x-api-key": "k"}
    assert OpenAiChat.auth_header.build("k") == {"Authorization": "Bearer k"}
    assert OpenAiChat.auth_header.build(None) == {}
