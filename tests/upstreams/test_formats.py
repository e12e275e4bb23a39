"""Every wire format against the simulated LLM over real HTTP: the same answer, the same faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.stream_parts import Finished, StreamPart, TextDelta, TextReplaced, Usage
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.anthropic import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.envelope import Envelope, EnvelopeRules
from hub.upstreams.http_client import UpstreamTimeouts
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai_chat import OpenAiChat
from hub.upstreams.openai_responses import OpenAiResponses
from hub.upstreams.simulated import SimulatedUpstream, Simulation
from hub.upstreams.simulated_answers import choose_answer
from tests.upstreams.kit import ask

ASKED: Final = "为什么天空是蓝色的？"
QUESTION: Final = GenerationRequest([Message("user", ASKED)], upstream="u", model="m")


def enveloped(**rules: Any) -> Dialect:
    return Envelope(EnvelopeRules(**{"request": {"prompt": "{prompt}"}, **rules}))


FORMATS: Final[dict[str, tuple[str, Callable[[], Dialect]]]] = {
    "openai": ("/v1", lambda: OpenAiChat({})),
    "xinference": ("/xinference/v1", lambda: OpenAiChat({})),
    "openai-responses": ("/v1", lambda: OpenAiResponses({})),
    "anthropic": ("/v1", lambda: AnthropicMessages({})),
    "ollama": ("", lambda: OllamaChat({})),
    "dashscope": ("/api/v1", lambda: DashScope({})),
    "dashscope, cumulative": ("/api/v1", lambda: DashScope({"incremental_output": False})),
    "chatglm": (
        "/chatglm",
        lambda: enveloped(
            json_data=False,
            text="",
            text_mode="cumulative",
            end_of_stream=True,
            error_events=("error",),
        ),
    ),
    "envelope": (
        "/envelope",
        lambda: enveloped(ok_field="code", ok_values=(200,), end_field="code", end_values=(-200,)),
    ),
    "envelope by GET": (
        "/envelope",
        lambda: enveloped(
            method="GET", ok_field="code", ok_values=(200,), end_field="code", end_values=(-200,)
        ),
    ),
    "words": (
        "/words",
        lambda: enveloped(
            json_data=False, text="", end_texts=("stop",), error_events=("error",), method="GET"
        ),
    ),
}
formats = pytest.mark.parametrize("name", FORMATS)
COUNTING: Final = {"openai", "xinference", "openai-responses", "anthropic", "ollama", "dashscope",
                   "dashscope, cumulative"}  # fmt: skip


@asynccontextmanager
async def simulated(name: str, **options: Any) -> AsyncIterator[tuple[str, Dialect]]:
    """Where the format is spoken, and the dialect for it."""
    options = {"tokens_per_second": 5000.0, "first_token_seconds": 0.0, **options}
    app = SimulatedUpstream(Simulation(**options)).app()
    place = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, place, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port:
        path, dialect = FORMATS[name]
        yield f"http://127.0.0.1:{port}{path}", dialect()


def said(pieces: list[StreamPart]) -> str:
    """The text that the pieces add up to."""
    text = ""
    for piece in pieces:
        if isinstance(piece, TextDelta):
            text += piece.text
        elif isinstance(piece, TextReplaced):
            text = piece.text
    return text


@formats
@pytest.mark.parametrize("network_chunk_bytes", [None, 3])
async def test_whole_answer(name: str, network_chunk_bytes: int | None) -> None:
    """Text, usage and finish, however the network cuts the bytes."""
    async with simulated(name, network_chunk_bytes=network_chunk_bytes) as (url, dialect):
        pieces = await ask(url, QUESTION, dialect=dialect)
    assert said(pieces) == choose_answer(ASKED)
    assert pieces[-1] == Finished("stop")
    assert sum(isinstance(piece, TextDelta) for piece in pieces) > 20
    usage: dict[str, Any] = {}
    for piece in pieces:
        if isinstance(piece, Usage):
            usage |= piece.tokens
    assert (usage.get("completion_tokens", 0) > 20) is (name in COUNTING)


async def failed(
    name: str, patience: UpstreamTimeouts | None = None, **options: Any
) -> UpstreamError:
    async with simulated(name, **options) as (url, dialect):
        with pytest.raises(UpstreamError) as caught:
            await ask(url, QUESTION, dialect=dialect, patience=patience, max_event_bytes=200_000)
    return caught.value


@formats
async def test_error_in_the_stream(name: str) -> None:
    """The upstream's own words, and a code."""
    error = await failed(name, fault="error:3")
    assert (error.code, error.retryable) == ("upstream_error", True)
    assert "fault error" in error.message


@formats
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("refuse", "upstream_status"),
        ("status:401", "upstream_status"),
        ("cut:3", "upstream_truncated"),
        ("truncate:3", "upstream_truncated"),
        ("stall:3", "upstream_timeout"),
        ("hang", "upstream_timeout"),
        ("line:300000", "upstream_too_large"),
        ("garbage:3", "upstream_protocol"),
    ],
)
async def test_fault(name: str, fault: str, code: str) -> None:
    """One error each, with its code; an answer that was cut short never counts as whole."""
    plain = name in ("chatglm", "words")
    if plain and fault.startswith("garbage"):
        return  # any text is an answer there
    if name == "chatglm" and fault.startswith("truncate"):
        return  # the connection's end is all that says so
    quick = UpstreamTimeouts(first_byte_seconds=0.3, idle_seconds=0.3)
    patience = quick if code == "upstream_timeout" else None
    assert (await failed(name, patience, fault=fault)).code == code


async def test_retry_after_is_told() -> None:
    """In seconds."""
    error = await failed("openai", fault="busy:9")
    assert (error.code, error.retry_after_seconds, error.retryable) == (
        "upstream_status",
        1.0,
        True,
    )


async def test_bad_question_is_told() -> None:
    """Another endpoint would refuse it, too."""
    assert (await failed("ollama", fault="status:400")).rejects_request
    assert not (await failed("ollama", fault="status:401")).rejects_request
