"""Answers that come as one JSON document: because the setting asks for it, or although none did."""

from __future__ import annotations

import itertools
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dialect import Dialect
from hub.upstreams.http.request_rules import RequestRules
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.reading.stream_reader import StreamReader
from tests.upstreams.kit import ReceivedRequest, collect, collect_failure, scripted_server
from tests.upstreams.test_framing import reply

ARGUMENTS: Final = {"city": "Berlin", "days": [1, 2]}
DOCUMENTS: Final[dict[str, tuple[Dialect, dict[str, Any]]]] = {
    "openai": (
        OpenAiChat({}),
        {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "TEXT",
                        "reasoning_content": "hm",
                        "tool_calls": [
                            {
                                "id": "c1",
                                "type": "function",
                                "function": {"name": "f", "arguments": json.dumps(ARGUMENTS)},
                            }
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": {"prompt_tokens": 8, "completion_tokens": 2},
        },
    ),
    "anthropic": (
        AnthropicMessages({}),
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "TEXT"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": ARGUMENTS},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 8, "output_tokens": 2},
        },
    ),
    "openai-responses": (
        OpenAiResponses({}),
        {
            "object": "response",
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "TEXT"}],
                },
                {
                    "type": "function_call",
                    "call_id": "c1",
                    "name": "f",
                    "arguments": json.dumps(ARGUMENTS),
                },
            ],
            "usage": {"input_tokens": 8, "output_tokens": 2},
        },
    ),
    "ollama": (
        OllamaChat({}),
        {
            "message": {
                "role": "assistant",
                "content": "TEXT",
                "thinking": "hm",
                "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": ARGUMENTS}}],
            },
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 8,
            "eval_count": 2,
        },
    ),
}
each_kind = pytest.mark.parametrize("kind", sorted(DOCUMENTS))


def encode(kind: str, text: str, indent: int | None = None) -> bytes:
    document = json.dumps(DOCUMENTS[kind][1], indent=indent)
    return document.replace('"TEXT"', json.dumps(text)).encode()


def check_answer(parts: list[Part], text: str) -> None:
    """Check that the parts are the answer of DOCUMENTS with this text."""
    assert "".join(part.text for part in parts if isinstance(part, Text)) == text
    assert "".join(part.text for part in parts if isinstance(part, Reasoning)) == "hm"
    calls = [call for part in parts if isinstance(part, ToolCallDelta) for call in part.calls]
    assert {call["id"] for call in calls if "id" in call} == {"c1"}
    arguments = "".join(call["function"].get("arguments", "") for call in calls)
    assert json.loads(arguments) == ARGUMENTS
    usage = {
        name: n for part in parts if isinstance(part, Usage) for name, n in part.tokens.items()
    }
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (8, 2)
    assert parts[-1] == Finished("tool_calls")


@given(
    kind=st.sampled_from(sorted(DOCUMENTS)),
    text=st.text(min_size=1, max_size=40),
    indent=st.sampled_from([None, 0, 4]),
    as_event=st.booleans(),
    before=st.sampled_from([b"", b"\n\n\n", b"\xef\xbb\xbf"]),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_document(
    kind: str, text: str, indent: int | None, as_event: bool, before: bytes, cuts: list[int]
) -> None:
    """A document in any layout, alone or as the only event, is the same answer."""
    dialect = DOCUMENTS[kind][0]
    body = b"data: " + encode(kind, text) + b"\n\n" if as_event else encode(kind, text, indent)
    body = before + body
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    reader = StreamReader(dialect, 100_000, ())
    parts: list[Part] = []
    for start, end in itertools.pairwise(edges):
        parts += reader.feed(body[start:end]) if start < end else []
    parts += [*reader.end(), *reader.finish()]
    assert reader.failure is None
    check_answer(parts, text)


@each_kind
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", None])
async def test_document_over_http(kind: str, content_type: str | None) -> None:
    """A server that ignores `stream` is read under any content type."""
    dialect, _ = DOCUMENTS[kind]
    async with scripted_server(reply(content_type, encode(kind, "whole answer"))) as url:
        check_answer(await collect(url, dialect=dialect), "whole answer")


@each_kind
async def test_setting(kind: str) -> None:
    """`stream = false` asks for a document, and reads it."""
    dialect, _ = DOCUMENTS[kind]
    received = ReceivedRequest()
    request = GenerationRequest([Message("user", "hi")], "u", "m")
    script = reply("application/json", encode(kind, "whole"))
    async with scripted_server(script, received) as url:
        rules = RequestRules(stream=False)
        check_answer(await collect(url, request, dialect=dialect, rules=rules), "whole")
    assert received.body["stream"] is False
    assert "stream_options" not in received.body


@each_kind
async def test_document_that_is_cut(kind: str) -> None:
    """A document without its end is never a complete answer."""
    body = encode(kind, "whole answer")
    error = await collect_failure(
        reply("application/json", body[: len(body) // 2]), dialect=DOCUMENTS[kind][0]
    )
    assert error.code in ("upstream_truncated", "upstream_protocol")


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("openai", {"error": {"message": "no quota", "code": 401}}),
        ("anthropic", {"type": "error", "error": {"type": "overloaded", "message": "no quota"}}),
        ("openai-responses", {"object": "response", "status": "failed",
                              "error": {"message": "no quota"}}),
        ("ollama", {"error": "no quota"}),
    ],
)  # fmt: skip
async def test_error_as_a_document(kind: str, document: dict[str, Any]) -> None:
    """An error with the status 200 is reported in its words; its own status decides on retries."""
    error = await collect_failure(
        reply("application/json", json.dumps(document).encode()), dialect=DOCUMENTS[kind][0]
    )
    assert (error.code, error.retryable) == ("upstream_error", kind != "openai")
    assert error.message.endswith("no quota")
