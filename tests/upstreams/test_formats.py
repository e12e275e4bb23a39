"""Every wire format against the simulated LLM over HTTP: the same answer, the same faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Part, Replace, Text, Usage
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import Dialect
from hub.upstreams.envelope import Envelope
from hub.upstreams.http.client import UpstreamTimeouts
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.upstreams.simulated.answers import choose_answer
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import envelope_rules, simulation, upstream_timeouts
from tests.upstreams.kit import collect

PROMPT: Final = "为什么天空是蓝色的？"
REQUEST: Final = GenerationRequest([Message("user", PROMPT)], upstream="u", model="m")


def build_envelope(**rules: Any) -> Dialect:
    return Envelope(envelope_rules(**{"request": {"prompt": "{prompt}"}, **rules}))


FORMATS: Final[dict[str, tuple[str, Callable[[], Dialect]]]] = {
    "openai": ("/v1", lambda: OpenAiChat({})),
    "xinference": ("/xinference/v1", lambda: OpenAiChat({})),
    "openai-responses": ("/v1", lambda: OpenAiResponses({})),
    "anthropic": ("/v1", lambda: AnthropicMessages({})),
    "ollama": ("", lambda: OllamaChat({})),
    "dashscope": ("/api/v1", lambda: DashScope({})),
    "dashscope, cumulative": ("/api/v1", lambda: DashScope({"incremental_output": False})),
    "ag_ui": ("/ag-ui", lambda: AgUi({})),
    "ai_sdk": ("/api/ui-chat", lambda: AiSdk({})),
    "chatglm": (
        "/chatglm",
        lambda: build_envelope(
            json_data=False,
            text="",
            text_mode="cumulative",
            end_of_stream=True,
            error_events=("error",),
        ),
    ),
    "envelope": (
        "/envelope",
        lambda: build_envelope(
            ok_field="code", ok_values=(200,), end_field="code", end_values=(-200,)
        ),
    ),
    "envelope by GET": (
        "/envelope",
        lambda: build_envelope(
            method="GET", ok_field="code", ok_values=(200,), end_field="code", end_values=(-200,)
        ),
    ),
    "words": (
        "/words",
        lambda: build_envelope(
            json_data=False, text="", end_texts=("stop",), error_events=("error",), method="GET"
        ),
    ),
}
formats = pytest.mark.parametrize("name", FORMATS)
WITH_USAGE: Final = {"openai", "xinference", "openai-responses", "anthropic", "ollama", "dashscope",
                   "dashscope, cumulative", "ag_ui", "ai_sdk"}  # fmt: skip


@asynccontextmanager
async def simulated(name: str, **options: Any) -> AsyncIterator[tuple[str, Dialect]]:
    """Run the simulated LLM; yield the base URL of the format and its dialect."""
    options = {"tokens_per_second": 5000.0, "first_token_seconds": 0.0, **options}
    app = SimulatedUpstream(simulation(**options)).app()
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port:
        path, dialect = FORMATS[name]
        yield f"http://127.0.0.1:{port}{path}", dialect()


def join_text(parts: list[Part]) -> str:
    """Return the text of the parts together."""
    text = ""
    for part in parts:
        if isinstance(part, Text):
            text += part.text
        elif isinstance(part, Replace):
            text = part.text
    return text


@formats
@pytest.mark.parametrize("network_chunk_bytes", [None, 61])
async def test_whole_answer(name: str, network_chunk_bytes: int | None) -> None:
    """Text, usage and finish arrive, however the network splits the bytes.

    61 is prime: events are cut in many places. tests/upstreams/test_cases.py cuts at every byte.
    """
    async with simulated(name, network_chunk_bytes=network_chunk_bytes) as (url, dialect):
        parts = await collect(url, REQUEST, dialect=dialect)
    assert join_text(parts) == choose_answer(PROMPT)
    assert parts[-1] == Finished("stop")
    assert sum(isinstance(part, Text) for part in parts) > 20
    usage: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Usage):
            usage |= part.tokens
    assert (usage.get("completion_tokens", 0) > 20) is (name in WITH_USAGE)


async def failed(
    name: str, timeouts: UpstreamTimeouts | None = None, **options: Any
) -> UpstreamError:
    async with simulated(name, **options) as (url, dialect):
        with pytest.raises(UpstreamError) as caught:
            await collect(url, REQUEST, dialect=dialect, timeouts=timeouts, max_event_bytes=200_000)
    return caught.value


@formats
async def test_error_in_the_stream(name: str) -> None:
    """An error in the stream has a code and the message of the upstream."""
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
    """Each fault has its code; an answer that is cut never counts as complete."""
    plain = name in ("chatglm", "words")
    if plain and fault.startswith("garbage"):
        return  # any text is an answer in this format
    if name == "chatglm" and fault.startswith("truncate"):
        return  # the end of the connection is the only end in this format
    short = upstream_timeouts(first_byte_seconds=0.3, idle_seconds=0.3)
    timeouts = short if code == "upstream_timeout" else None
    assert (await failed(name, timeouts, fault=fault)).code == code


async def test_retry_after() -> None:
    """The delay that the upstream asks for is in the error, in seconds."""
    error = await failed("openai", fault="busy:9")
    assert (error.code, error.retry_after_seconds, error.retryable) == (
        "upstream_status",
        1.0,
        True,
    )


async def test_rejected_request() -> None:
    """A 400 marks the request as rejected by any endpoint; a 401 does not."""
    assert (await failed("ollama", fault="status:400")).rejects_request
    assert not (await failed("ollama", fault="status:401")).rejects_request
