"""What real LLM servers send is read in the same way however the network splits the bytes.

The cases are data: e2e/test_upstream_cases.py asks those of cases.json by every API of the hub.
more_cases.json has other members of the same kinds, which only the reader needs to see.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from hub.core.parts import (
    Finished,
    Part,
    Reasoning,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.errors import UpstreamError
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.reading.stream_reader import StreamReader
from tests.upstreams.cases.answers import Answer, compare
from tests.upstreams.cases.server import Case

_CASES: Final = Path(__file__).parent / "cases"
_DIALECTS: Final = {
    dialect.kind: dialect
    for dialect in (OpenAiChat({}), AnthropicMessages({}), OllamaChat({}), OpenAiResponses({}))
}
_REASONS: Final = {"length", "tool_calls", "content_filter"}
_MAX_BYTES: Final = 8_000  # of a stream that is split into single bytes


def is_one_stream(case: Case) -> bool:
    """Whether the case is one response of moderate size that is an answer by its status."""
    response = case["upstream_response"]
    return (
        isinstance(response, Mapping)
        and response.get("status", 200) == 200
        and all(isinstance(chunk, str) for chunk in response["chunks"])
    )


CASES: Final[list[Case]] = [
    case
    for name in ("cases.json", "more_cases.json")
    for case in json.loads((_CASES / name).read_text())
    if is_one_stream(case)
]


def read(case: Case, chunks: Sequence[bytes]) -> Answer:
    """Return what a client would see of the chunks of a response."""
    reader = StreamReader(_DIALECTS[case["kind"]], 2**20, ())
    parts: list[Part] = []
    error: UpstreamError | None = None
    try:
        for chunk in chunks:
            parts += reader.feed(chunk)
            if reader.failure or reader.done:
                break
        else:
            parts += reader.end()
        if reader.failure:
            raise reader.failure
        parts += reader.finish()
    except UpstreamError as failure:
        error = failure
    return _collect(parts, error)


def _collect(parts: Sequence[Part], error: UpstreamError | None) -> Answer:
    answer, usage = Answer(msgspec.json.encode(parts).decode()), dict[str, Any]()
    for part in parts:
        match part:
            case Text(text):
                answer.text += text
            case Reasoning(text):
                answer.reasoning += text
            case ToolCallDelta(calls):
                for call in calls:
                    answer.add_call(call)
            case Usage(tokens):
                usage |= tokens
            case Finished(reason):
                filtered = "content_filter" if reason == "refusal" else reason
                answer.finish_reason = filtered if filtered in _REASONS else "stop"
            case _:
                pass
    answer.usage = usage
    if error is not None:
        answer.fail({"code": error.code, "message": error.message})
    return answer


def split(stream: bytes, positions: Sequence[int]) -> list[bytes]:
    """Return the stream cut at the positions."""
    ends = sorted({0, *positions, len(stream)})
    return [stream[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_case_in_any_chunks(case: Case) -> None:
    """The answer is what the case expects: in the server's chunks, whole, and cut anywhere."""
    sent = [chunk.encode("utf-8", "surrogatepass") for chunk in case["upstream_response"]["chunks"]]
    stream = b"".join(sent)
    choose = random.Random(case["id"])  # the same cuts in every run
    ways = [sent, [stream]]
    ways += [split(stream, [choose.randrange(len(stream) + 1) for _ in range(9)]) for _ in range(3)]
    if len(stream) < _MAX_BYTES:
        ways.append(split(stream, range(len(stream))))
    for chunks in ways:
        assert compare(read(case, chunks), case["expect"], is_stream=True) == []
