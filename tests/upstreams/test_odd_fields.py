"""An odd field costs only itself, in every wire format and however the bytes are split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.generation import GenerationRequest
from hub.core.parts import (
    Annotations,
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.core.tool_calls import MAX_TOOL_CALLS
from hub.errors import UpstreamError
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.reader import CallReader
from hub.upstreams.a2a.request import AgentCall
from hub.upstreams.a2a.task import TaskProgress
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.envelope import Envelope
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.reading.stream_reader import StreamReader
from tests.defaults import envelope_rules

OPENAI = OpenAiChat({})
ENVELOPE = Envelope(envelope_rules(request={}, text="data", end_field="last", end_values=(True,)))


class AgentStream(AgentCall):
    """The stream of an agent; each reader has a task of its own."""

    def __init__(self) -> None:
        super().__init__(AgentInterface(url="http://agent"), "stream", TaskProgress())

    def new_reader(self, request: GenerationRequest | None = None) -> CallReader:
        return CallReader(TaskProgress(), is_stream=True)


def encode(dialect: Dialect, events: Sequence[Any]) -> bytes:
    """Return the bytes of a stream; an event that is bytes is sent as it is."""
    is_sse = dialect.framing.media_type == "text/event-stream"
    form = b"data: %b\n\n" if is_sse else b"%b\n"
    return b"".join(
        event if isinstance(event, bytes) else form % json.dumps(event).encode() for event in events
    )


def read(
    dialect: Dialect, *events: Any, cuts: Sequence[int] = ()
) -> tuple[list[Part], StreamReader]:
    """Return the parts of a stream, and its reader. cuts: where the network splits the bytes."""
    reader = StreamReader(dialect, 1_000_000, ())
    stream = encode(dialect, events)
    positions = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
    parts: list[Part] = []
    for start, end in pairwise(positions):
        parts += reader.feed(stream[start:end])
        if reader.failure:
            raise reader.failure
    parts += reader.end()
    if reader.failure:
        raise reader.failure
    return parts + reader.finish(), reader


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def chunk(delta: Any, finish_reason: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk of OpenAI's chat completions."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **fields}


STOP = chunk({}, "stop")

# A stream of each format with the text "Hi there" and a finish.
STREAMS: dict[str, tuple[Dialect, list[dict[str, Any]]]] = {
    "openai": (OPENAI, [chunk({"content": "Hi "}), chunk({"content": "there"}), STOP]),
    "openai-responses": (
        OpenAiResponses({}),
        [
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi "},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "there"},
            {"type": "response.completed", "response": {}},
        ],
    ),
    "anthropic": (
        AnthropicMessages({}),
        [
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 0, "delta": {"text": "Hi "}},
            {"type": "content_block_delta", "index": 0, "delta": {"text": "there"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ],
    ),
    "ollama": (
        OllamaChat({}),
        [
            {"message": {"content": "Hi "}, "done": False},
            {"message": {"content": "there"}, "done": False},
            {"message": {"content": ""}, "done": True, "done_reason": "stop"},
        ],
    ),
    "dashscope": (
        DashScope({}),
        [
            {"output": {"choices": [{"message": {"content": "Hi "}, "finish_reason": "null"}]}},
            {"output": {"choices": [{"message": {"content": "there"}, "finish_reason": "stop"}]}},
        ],
    ),
    "ag_ui": (
        AgUi({}),
        [
            {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hi "},
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "there"},
            {"type": "TEXT_MESSAGE_END", "messageId": "m"},
            {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
        ],
    ),
    "ai_sdk": (
        AiSdk({}),
        [
            {"type": "start", "messageId": "m"},
            {"type": "start-step"},
            {"type": "text-start", "id": "t"},
            {"type": "text-delta", "id": "t", "delta": "Hi "},
            {"type": "text-delta", "id": "t", "delta": "there"},
            {"type": "text-end", "id": "t"},
            {"type": "finish-step"},
            {"type": "finish", "finishReason": "stop"},
        ],
    ),
    "a2a": (
        AgentStream(),
        [
            {"result": {"task": {"id": "t", "status": {"state": "TASK_STATE_WORKING"}}}},
            {"result": {"artifactUpdate": {"artifact": {"parts": [{"text": "Hi "}]}}}},
            {
                "result": {
                    "artifactUpdate": {"artifact": {"parts": [{"text": "there"}]}, "append": True}
                }
            },
            {"result": {"statusUpdate": {"status": {"state": "TASK_STATE_COMPLETED"}}}},
        ],
    ),
    "a2a-0.3": (
        AgentStream(),
        [
            {"result": {"kind": "task", "id": "t", "status": {"state": "working"}}},
            {"result": {"kind": "artifact-update", "artifact": {"parts": [{"text": "Hi "}]}}},
            {
                "result": {
                    "kind": "artifact-update",
                    "artifact": {"parts": [{"text": "there"}]},
                    "append": True,
                }
            },
            {"result": {"kind": "status-update", "status": {"state": "completed"}}},
        ],
    ),
    "envelope": (ENVELOPE, [{"data": "Hi "}, {"data": "there"}, {"data": None, "last": True}]),
}
# Fields that no event of the streams needs, and those whose place only an empty value may take.
_FREE = (
    *("usage", "logprobs", "id", "role", "model", "x_groq", "citations", "annotations", "citation"),
    *("reasoning_details", "tool_calls", "function_call", "refusal", "reasoning", "thinking"),
    *("reasoning_content", "signature", "output_index", "content_index", "prompt_eval_count"),
    *("eval_count", "item", "annotation", "arguments"),
)
_EMPTY_ONLY = ("error", "message", "content_block", "text", "index", "response", "code", "refusal")
_EMPTY: Any = st.sampled_from([None, False, "", [], {}])
_ODD: Any = _EMPTY | st.sampled_from(
    [
        True,
        [None],
        {"a": 1},
        [[]],
        [{"b": None}],
        2**70,
        1.5,
        {"type": 5.5},
        [{"url": 5}],
        {"usage": ""},
    ]
)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from _objects(each)


@st.composite
def odd_streams(draw: st.DrawFn) -> tuple[Dialect, list[Any]]:
    """Return a good stream with odd fields in random positions."""
    dialect, good = STREAMS[draw(st.sampled_from(sorted(STREAMS)))]
    events = json.loads(json.dumps(good))
    targets = [*_objects(events)]
    for _ in range(draw(st.integers(1, 6))):
        target = draw(st.sampled_from(targets))
        names = [name for name in (*_FREE, *_EMPTY_ONLY) if name not in target]
        name = draw(st.sampled_from(names))
        value = json.loads(json.dumps(draw(_EMPTY if name in _EMPTY_ONLY else _ODD)))
        target[name] = value
        if isinstance(value, dict | list) and name not in _EMPTY_ONLY:
            targets += _objects(value)  # later fields may be put into it
    keepalives = [b"data:\n\n", b"data: \n\n", b": hi\n\n", b"data: : busy\n\n", b"data: ping\n\n"]
    if dialect.framing.media_type == "text/event-stream":
        for _ in range(draw(st.integers(0, 2))):
            events.insert(draw(st.integers(0, len(events) - 1)), draw(st.sampled_from(keepalives)))
    return dialect, events


@pytest.mark.parametrize("value", [None, {}, {"a": 1}])
@pytest.mark.parametrize("name", ["task", "message", "statusUpdate", "artifactUpdate"])
@pytest.mark.parametrize("version", ["a2a", "a2a-0.3"])
def test_object_of_a2a_without_fields(version: str, name: str, value: Any) -> None:
    """An object without known fields, beside those of an event, is no event of its own."""
    dialect, good = STREAMS[version]
    events = [{"result": {name: value, **event["result"]}} for event in good]
    parts, _ = read(dialect, *events)
    assert (text_of(parts), type(parts[-1])) == ("Hi there", Finished)


@given(odd_streams(), st.lists(st.integers(0, 10_000), max_size=8))
def test_text_survives(stream: tuple[Dialect, list[Any]], cuts: list[int]) -> None:
    """The text and the finish of the other fields arrive, and nothing else becomes text."""
    dialect, events = stream
    parts, _ = read(dialect, *events, cuts=cuts)
    assert text_of(parts) == "Hi there"
    assert isinstance(parts[-1], Finished)
    for part in parts:
        if isinstance(part, Usage):
            counts = ("prompt_tokens", "completion_tokens", "total_tokens")
            assert all(type(part.tokens[n]) is int for n in counts if n in part.tokens)


_FUNCTION = {"name": "f", "arguments": {"a": 1}}
_CALL = {"index": 0, "id": "c", "type": "function", "function": _FUNCTION, "extra": {"a": 1}}
_ITEMS = [
    {"type": "reasoning", "id": "r", "summary": [{"text": "hm"}], "encrypted_content": "z"},
    {"type": "message", "content": [{"type": "output_text", "text": "Hi", "annotations": [{}]}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
]
_PARTS = [
    {"text": "a", "metadata": {"a": 1}},
    {"data": {"a": [1]}},
    {"raw": "YQ==", "mediaType": "a/b", "filename": "f"},
    {"kind": "file", "file": {"uri": "https://a", "mimeType": "a/b", "name": "f"}},
]
_ARTIFACT = {"artifactId": "b", "name": "n", "parts": _PARTS}
# More of each format, for values in any target.
_MORE: dict[str, list[Any]] = {
    "openai": [
        chunk({"content": [{"type": "thinking", "thinking": [{"text": "a"}]}]}, citations=["a"]),
        chunk({"tool_calls": [_CALL], "annotations": [{"url": "u"}], "reasoning": "hm"}),
        chunk({"function_call": _FUNCTION, "reasoning_details": [{"a": 1}]}),
        {"choices": [], "usage": {"prompt_tokens": 1}, "x_groq": {"usage": {}}},
    ],
    "openai-responses": [
        *[{"type": f"response.output_item.{word}", "output_index": n, "item": item}
          for n, item in enumerate(_ITEMS) for word in ("added", "done")],
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "a"},
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "a"},
        {"type": "response.incomplete", "response": {"output": _ITEMS, "usage": {"a": 1},
                                                     "incomplete_details": {"reason": "a"}}},
    ],
    "anthropic": [
        {"type": "content_block_start", "index": 1,
         "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}},
        {"type": "content_block_start", "index": 2,
         "content_block": {"type": "thinking", "thinking": "a", "signature": "s"}},
        {"type": "content_block_delta", "index": 2, "delta": {"citation": {"url": "u"}}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": "a"}},
        {"type": "content_block_stop", "index": 2},
    ],
    "ollama": [{"message": {"tool_calls": [_CALL], "thinking": "a"}, "prompt_eval_count": 1}],
    "dashscope": [{"output": {"choices": [{"message": {"tool_calls": [_CALL]}}], "text": "a"},
                   "usage": {"input_tokens": 1}}],
    "ag_ui": [
        {"type": "TEXT_MESSAGE_CHUNK", "delta": "a", "role": "user"},
        {"type": "REASONING_MESSAGE_CHUNK", "delta": "a"},
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "f"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"a":'},
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "f", "delta": "1}"},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": "c", "content": '{"a":1}', "error": "e"},
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/b", "value": 1}]},
        {"type": "ACTIVITY_SNAPSHOT", "messageId": "v", "activityType": "plan",
         "content": {"a": 1}},
        {"type": "ACTIVITY_DELTA", "messageId": "v", "activityType": "plan",
         "patch": [{"op": "replace", "path": "/a", "value": 2}]},
        {"type": "MESSAGES_SNAPSHOT", "messages": [
            {"id": "m", "role": "assistant", "content": "Hi ",
             "toolCalls": [{"id": "d", "function": {"name": "f", "arguments": "{}"}}]},
            {"id": "n", "role": "tool", "toolCallId": "d", "content": [{"type": "text"}]}]},
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "m",
         "encryptedValue": "z"},
        {"type": "CUSTOM", "name": "source", "value": {"url": "u", "title": "a"}},
        {"type": "CUSTOM", "name": "file", "value": {"url": "u", "media_type": "a/b"}},
        {"type": "CUSTOM", "name": "annotations", "value": [{"a": 1}]},
        {"type": "SUBAGENT_STARTED", "subagentRunId": "s", "name": "a"},
        {"type": "SUBAGENT_FINISHED", "subagentRunId": "s"},
        {"type": "RUN_FINISHED", "usage": [{"inputTokens": 1}], "result": {"finishReason": "a"},
         "outcome": {"type": "success", "pendingToolCallIds": ["c"]}},
    ],
    "ai_sdk": [
        {"type": "reasoning-delta", "id": "r", "delta": "a", "providerMetadata": {"p": {"a": 1}}},
        {"type": "reasoning-end", "id": "r",
         "providerMetadata": {"hub": {"reasoningDetails": [{"a": 1}]}}},
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "f", "providerExecuted": True},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "{"},
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "f", "input": {"a": 1},
         "providerMetadata": {"hub": {"a": 1}, "p": {"a": 1}}},
        {"type": "tool-input-error", "toolCallId": "d", "toolName": "f", "input": "{",
         "errorText": "e"},
        {"type": "tool-output-available", "toolCallId": "c", "output": {"a": 1},
         "preliminary": True},
        {"type": "tool-output-error", "toolCallId": "d", "errorText": "e"},
        {"type": "tool-output-denied", "toolCallId": "d"},
        {"type": "source-url", "sourceId": "s", "url": "u", "title": "a"},
        {"type": "source-document", "sourceId": "s", "mediaType": "a/b", "title": "a"},
        {"type": "file", "url": "data:a/b;base64,aGk=", "mediaType": "a/b"},
        {"type": "data-status", "data": {"text": "a"}, "transient": True},
        {"type": "data-x", "id": "x", "data": {"a": 1}},
        {"type": "data-generation", "data": {"event": "restarted"}},
        {"type": "custom", "kind": "a.b", "providerMetadata": {"a": {"b": 1}}},
        {"type": "message-metadata", "messageMetadata": {"usage": {"inputTokens": 1}, "a": 1}},
        {"type": "reset-step"},
    ],
    "a2a": [
        {"result": {"task": {"id": "t", "status": {"state": "working"}, "artifacts": [_ARTIFACT]}}},
        {"result": {"statusUpdate": {"status": {"state": "a", "message": {"parts": _PARTS}}}}},
        {"result": {"artifactUpdate": {"artifact": _ARTIFACT, "lastChunk": True}}},
    ],
    "a2a-0.3": [
        {"result": {"kind": "task", "id": "t", "artifacts": [_ARTIFACT]}},
        {"result": {"kind": "status-update", "status": {"message": {"parts": _PARTS}}}},
        {"result": {"kind": "message", "messageId": "m", "parts": _PARTS}},
    ],
    "envelope": [],
}  # fmt: skip


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["choices", "delta", "content", "type", "x"]), inner)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_any_value_in_any_place(name: str, data: st.DataObject) -> None:
    """With any value in any place the answer ends or fails; nothing else is raised."""
    dialect, good = STREAMS[name]
    events = json.loads(json.dumps([*good[:-1], *_MORE[name], good[-1]]))
    target = data.draw(st.sampled_from([*_objects(events)]))
    field = data.draw(st.sampled_from(sorted(target) or ["x"]))
    target[field] = data.draw(_JSON)
    with suppress(UpstreamError):
        parts, _ = read(dialect, *events)
        assert isinstance(parts[-1], Finished)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        *[(6, "6"), (0, "0"), (True, "true"), (False, ""), ({}, ""), ([], "")],
        *[("6", "6"), ({"type": "text", "text": "x"}, "x"), ([{"text": "x"}, "y", 5, None], "xy5")],
        ([{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "x"}], "x"),
        ([{"type": "reference", "reference_ids": [1]}], ""),
        ([{"type": "output_text", "text": {"value": "x"}}], "x"),
    ],
)
@pytest.mark.parametrize("name", ["openai", "ollama", "dashscope"])
def test_contents(name: str, content: Any, text: str) -> None:
    """A content may be a number, or a list of typed parts."""
    dialect, good = STREAMS[name]
    events = json.loads(json.dumps(good))
    next(each for each in _objects(events) if "content" in each)["content"] = content
    assert text_of(read(dialect, *events)[0]) == text + "there"


def test_number_keeps_its_form() -> None:
    """A number in the place of a text is the text that the upstream wrote."""
    event = b'data: {"choices":[{"delta":{"content":3.10}}]}\n\n'
    assert text_of(read(OPENAI, event, STOP)[0]) == "3.10"


def test_odd_fields_are_counted() -> None:
    """Each odd field is counted under its path."""
    odd = {"choices": [{"index": "x", "delta": {"content": "a", "refusal": False}}], "usage": ""}
    _, reader = read(OPENAI, odd, odd, chunk({}, "stop", usage={"prompt_tokens": True}))
    assert reader.odd_fields == {
        "choices.0.index": 2,
        "choices.0.delta.refusal": 2,
        "usage": 2,
        "usage.prompt_tokens": 1,
    }


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [{"delta": "text"}]},
        {"choices": [{"delta": "text", "finish_reason": "stop"}]},
        {"choices": "text"},
        {"choices": ["text"]},
        [{"choices": [{"delta": {"content": "a"}}]}, "text"],
        b'data: {"choices":[{"delta":{"content":"a}\n\n',
        b'data: {"a":' + b"[" * 99_999 + b"\n\n",
    ],
)
def test_unreadable_text_is_a_failure(event: Any) -> None:
    """An event that may hold text and cannot be read ends the answer with an error."""
    with pytest.raises(UpstreamError, match="not a valid event: “") as caught:
        read(OPENAI, chunk({"content": "a"}), event, STOP)
    assert caught.value.code == "upstream_protocol"


def test_more_tool_calls_than_the_hub_keeps() -> None:
    """They are a failure, also beside the finish: no call is lost in silence."""
    calls = [
        {"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}
        for n in range(MAX_TOOL_CALLS + 1)
    ]
    read(OPENAI, chunk({"tool_calls": calls[1:]}), STOP)
    with pytest.raises(UpstreamError, match="more than 1000 tool calls") as caught:
        read(OPENAI, chunk({"tool_calls": calls}, "tool_calls"))
    assert caught.value.code == "upstream_too_large"


def test_typed_events_that_cannot_be_read() -> None:
    """Only events of a type that carries text fail; unknown ones are skipped."""
    for name, event in (
        ("anthropic", {"type": "content_block_delta", "delta": "x"}),
        ("openai-responses", {"type": "response.output_text.delta", "delta": {"odd": 1}}),
        ("ag_ui", {"type": "TEXT_MESSAGE_CONTENT", "delta": {"odd": 1}}),
        ("ai_sdk", {"type": "text-delta", "delta": {"odd": 1}}),
    ):
        dialect, events = STREAMS[name]
        with pytest.raises(UpstreamError, match="not a valid event"):
            read(dialect, event, *events)
        assert text_of(read(dialect, {**event, "type": "brand_new"}, *events)[0]) == "Hi there"


def test_json_of_lenient_servers() -> None:
    """NaN, Infinity and numbers of any size in other fields do no harm."""
    event = b'data: {"choices":[{"delta":{"content":"a"},"logprobs":[NaN,-Infinity,1e999]}],"n":%b}'
    parts, _ = read(OPENAI, event % (b"9" * 400) + b"\n\n", STOP)
    assert text_of(parts) == "a"


def test_half_characters_in_arguments() -> None:
    """A character that is split over two pieces of a tool call arrives whole."""
    form = 'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":%s}]}}]}\n\n'
    functions = ('{"name":"f","arguments":"\\"\\ud83c"}', '{"arguments":"\\udf05\\""}')
    parts, _ = read(OPENAI, *[(form % part).encode() for part in functions], STOP)
    calls = [call for part in parts if isinstance(part, ToolCallDelta) for call in part.calls]
    assert "".join(call["function"]["arguments"] for call in calls) == '"🌅"'


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (b"event: stop\ndata:\n\n", None),
        (b"event: end\ndata: \n\n", None),
        (b"event: end\n\n", None),  # not an event by the standard, but as clear as the others
        (b"event: ping\n\n", "upstream_truncated"),
        (b"data: [DONE]\n\n", "upstream_truncated"),
        (b"data: Internal Server Error\n\n", "upstream_protocol"),
        (b"data: ping\n\n", "upstream_truncated"),
    ],
)
def test_ends_without_a_reason(end: bytes, code: str | None) -> None:
    """An end event without data is a normal end; other words are not."""
    if code is None:
        assert read(OPENAI, chunk({"content": "a"}), end)[0][-1] == Finished("stop")
        return
    with pytest.raises(UpstreamError) as caught:
        read(OPENAI, chunk({"content": "a"}), end)
    assert caught.value.code == code


def test_finish_is_final() -> None:
    """After the finish nothing makes the answer fail, and the usage still counts."""
    rubbish = (b"data: {broken\n\n", {"choices": "odd"}, {"error": "late"}, b"data: oops\n\n")
    usage = {"choices": [], "usage": {"prompt_tokens": 3}}
    parts, _ = read(OPENAI, chunk({"content": "a"}, "stop"), *rubbish, usage)
    assert parts == [Text("a"), Usage({"prompt_tokens": 3}), Finished("stop")]


@pytest.mark.parametrize("reason", ["error", "abort", "network_error"])
def test_finish_that_is_a_failure(reason: str) -> None:
    """A vendor's word for a failure ends the answer with an error, after its text."""
    reader = StreamReader(OPENAI, 10_000, ())
    parts = reader.feed(encode(OPENAI, [chunk({"content": "a"}, reason)]))
    assert parts == [Text("a")]
    assert reader.failure is not None
    assert reader.failure.code == "upstream_error"


@pytest.mark.parametrize(
    ("word", "has_call", "reason"),
    [
        *[("stop", True, "tool_calls"), ("STOP", False, "stop"), ("length", True, "length")],
        ("function_call", True, "tool_calls"),
        ("brand_new", True, "brand_new"),
    ],
)
def test_reason_with_tool_calls(word: str, has_call: bool, reason: str) -> None:
    """`stop` together with tool calls becomes `tool_calls`."""
    calls = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    delta = {"tool_calls": calls} if has_call else {"content": "a"}
    assert read(OPENAI, chunk(delta), chunk({}, word))[0][-1] == Finished(reason)


def test_reason_null_is_no_end() -> None:
    """The text `null` is no finish reason."""
    with pytest.raises(UpstreamError, match="before the answer was finished"):
        read(OPENAI, chunk({"content": "a"}, "null"))


@pytest.mark.parametrize("word", ["load", "unload"])
def test_ollama_load(word: str) -> None:
    """A line that only reports that the model was loaded is no answer."""
    with pytest.raises(UpstreamError, match="did not answer"):
        read(STREAMS["ollama"][0], {"message": {"content": ""}, "done": True, "done_reason": word})


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 3}}]},
        {**STOP, "x_groq": {"usage": {"prompt_tokens": 3}}},
        {**STOP, "usage": {"prompt_tokens": 3.0, "completion_tokens": None}},
        {**STOP, "usage": {"prompt_tokens": "3", "total_tokens": False}},
    ],
)
def test_places_of_usage(fields: dict[str, Any]) -> None:
    """Usage counts in the chunk, in its choice and in Groq's field."""
    assert read(OPENAI, chunk({"content": "a"}), fields)[0][1] == Usage({"prompt_tokens": 3})


def test_whole_message_in_a_chunk() -> None:
    """A message instead of a delta is read; after deltas it is a repetition."""
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert text_of(read(OPENAI, whole)[0]) == "Hi"
    assert text_of(read(OPENAI, chunk({"content": "Hi"}), whole)[0]) == "Hi"


def test_sources_and_details() -> None:
    """Sources have one form and come once; details of the reasoning are passed on."""
    url = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    details = [{"type": "reasoning.encrypted", "data": "z"}]
    parts, _ = read(
        OPENAI,
        chunk({"reasoning_details": details}),
        chunk({"content": "a"}, citations=["https://b"]),
        chunk({"annotations": [url]}, citations=["https://b", "https://c"]),
        STOP,
    )

    def cite(url: str) -> dict[str, Any]:
        return {"type": "url_citation", "url_citation": {"url": url}}

    assert parts == [
        ReasoningDetails(details),
        *[Text("a"), Annotations([cite("https://b")])],
        *[Annotations([url]), Annotations([cite("https://c")])],
        Finished("stop"),
    ]


def test_responses_without_deltas() -> None:
    """What only the last event has is read from it, and what was read before is not repeated."""
    dialect = STREAMS["openai-responses"][0]
    output = [
        {"type": "reasoning", "id": "r", "summary": [{"text": "hm"}], "encrypted_content": "z"},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
    ]
    end = {"type": "response.completed", "response": {"output": output}}
    items = [
        {"type": "response.output_item.done", "output_index": n + 5, "item": item}
        for n, item in enumerate(output)
    ]
    detail = {"type": "reasoning.encrypted", "data": "z", "id": "r",
              "format": "openai-responses-v1"}  # fmt: skip
    for events in ([end], [*items, end], [items[1], end], [*items, *items, end]):
        parts, _ = read(dialect, *events)
        assert text_of(parts) == "Hi"
        assert "".join(p.text for p in parts if isinstance(p, Reasoning)) == "hm"
        (details,) = [p.details for p in parts if isinstance(p, ReasoningDetails)]
        assert [{**each, "index": 0} for each in details] == [{**detail, "index": 0}]
        calls = [call for p in parts if isinstance(p, ToolCallDelta) for call in p.calls]
        assert [call["id"] for call in calls if "id" in call] == ["c"]
        assert "".join(call["function"]["arguments"] for call in calls) == '{"a":1}'
        assert parts[-1] == Finished("tool_calls")
