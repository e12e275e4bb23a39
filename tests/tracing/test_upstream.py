from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from opentelemetry.trace import SpanKind, StatusCode

from hub.core.stream_parts import Finished, StreamPart, TextDelta, Usage
from hub.engine.failover import CircuitBreaker, Failover
from hub.engine.tasks import SystemClock
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.ports.upstreams import Upstream
from hub.tracing.upstream import TracedUpstream, http_spans
from hub.upstreams.simulated import SimulatedUpstream
from tests.defaults import endpoint, simulation
from tests.doubles import Gate, ScriptedUpstream, settled
from tests.tracing.conftest import Spans
from tests.upstreams.kit import REQUEST, build_upstream

ASKED = msgspec.structs.replace(REQUEST, trace=f"00-{'a' * 32}-{'c' * 16}-01")
UNSAMPLED = msgspec.structs.replace(REQUEST, trace=f"00-{'a' * 32}-{'c' * 16}-00")


async def answer_of(upstream: Upstream, question: object = ASKED) -> list[StreamPart]:
    """All pieces."""
    assert isinstance(question, type(ASKED))
    async with aclosing(upstream.stream(question)) as stream:
        return [piece async for pieces in stream for piece in pieces]


@asynccontextmanager
async def simulated(spans: Spans, fault: str | None) -> AsyncIterator[tuple[Upstream, list[str]]]:
    """A traced upstream over real HTTP, tried again once, and each `traceparent` that it sent."""
    got: list[str] = []

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        got.append(request.headers["traceparent"])

    llm = SimulatedUpstream(
        simulation(fault=fault, tokens_per_second=5000.0, first_token_seconds=0.0)
    ).app()
    llm.on_response_prepare.append(note)
    clock = SystemClock()
    async with (
        listen(llm, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=True) as port,
        aiohttp.ClientSession(trace_configs=[http_spans(spans.tracer)]) as session,
    ):
        one = endpoint(
            name="u",
            upstream=build_upstream(session, f"http://127.0.0.1:{port}/v1"),
            circuit=CircuitBreaker(clock, failure_threshold=5, open_seconds=1.0),
            retries=1,
            max_retry_after_seconds=20.0,
        )
        yield TracedUpstream(Failover([one], clock), spans.tracer, "openai"), got


@pytest.mark.parametrize(
    ("kind", "provider"), [("openai-responses", "openai"), ("anthropic", "anthropic")]
)
async def test_answer_is_a_span_of_generative_ai(spans: Spans, kind: str, provider: str) -> None:
    """What was asked of whom, how it ended, what it cost; a child of who asked."""
    script: Sequence[StreamPart] = [
        Usage({"prompt_tokens": 7}),
        TextDelta("private"),
        TextDelta("words"),
        Usage({"completion_tokens": 9}),
        Finished("length"),
    ]
    pieces = await answer_of(TracedUpstream(ScriptedUpstream(script), spans.tracer, kind))
    assert pieces == script
    span, said = spans.only("chat m")
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == int("c" * 16, 16)
    assert said.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.response.finish_reasons": ("length",),
    }


async def test_failure_is_told_by_its_code(spans: Spans) -> None:
    """An upstream's text may quote the prompt: it is in no span."""
    error = UpstreamError("upstream_status", "400: you said 'private'", retryable=False)
    upstream = TracedUpstream(ScriptedUpstream([TextDelta("a"), error]), spans.tracer, "openai")
    with pytest.raises(UpstreamError):
        await answer_of(upstream)
    span, said = spans.only("chat m")
    assert said["error.type"] == "upstream_status"
    assert span.status.status_code is StatusCode.ERROR
    assert "private" not in span.to_json()


async def test_adapters_fault_is_told_by_its_kind(spans: Spans) -> None:
    """As any other exception."""
    upstream = TracedUpstream(ScriptedUpstream([ValueError("private")]), spans.tracer, "openai")
    with pytest.raises(ValueError, match="private"):
        await answer_of(upstream)
    span, said = spans.only("chat m")
    assert said["error.type"] == "ValueError"
    assert "private" not in span.to_json()


async def test_stopped_answer_ends_its_span(spans: Spans) -> None:
    """Cancelled while it waits: the span ends, the upstream is closed, nothing failed."""
    gate = Gate()
    gate.close()
    script = ScriptedUpstream([TextDelta("a"), gate])
    task = asyncio.create_task(answer_of(TracedUpstream(script, spans.tracer, "openai")))
    await settled()
    assert gate.waiting == 1
    assert spans.ended == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span, _ = spans.only("chat m")
    assert span.status.status_code is StatusCode.UNSET
    assert script.closed == 1


async def test_each_try_is_a_request_of_one_question(spans: Spans) -> None:
    """A 503, then the answer: two HTTP spans below one chat, each known to the upstream."""
    async with simulated(spans, "flaky:1") as (upstream, got):
        await answer_of(upstream)
    chat, _ = spans.only("chat m")
    own = chat.get_span_context()
    assert own is not None
    posts = [span for span in spans.ended if span.name == "POST"]
    assert [(span.attributes or {})["http.response.status_code"] for span in posts] == [503, 200]
    assert [span.status.status_code for span in posts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [span.parent.span_id for span in posts if span.parent] == [own.span_id] * 2
    ids = [span.get_span_context() for span in posts]
    assert got == [f"00-{'a' * 32}-{each.span_id:016x}-01" for each in ids if each]
    assert all(set(span.attributes or {}) <= HTTP_ATTRIBUTES for span in posts)
    assert posts[1].end_time is not None
    assert chat.end_time is not None
    assert posts[1].end_time < chat.end_time  # the request ended with its headers


HTTP_ATTRIBUTES = {
    "http.request.method",
    "http.response.status_code",
    "server.address",
    "server.port",
    "error.type",
}


async def test_nobody_there_is_told_by_its_kind(spans: Spans) -> None:
    """A request without an answer."""
    async with aiohttp.ClientSession(trace_configs=[http_spans(spans.tracer)]) as session:
        upstream = build_upstream(session, "http://127.0.0.1:1/v1")
        with pytest.raises(UpstreamError):
            await answer_of(TracedUpstream(upstream, spans.tracer, "openai"))
    _, said = spans.only("POST")
    assert said["error.type"] == "ClientConnectorError"
    _, said = spans.only("chat m")
    assert said["error.type"] == "upstream_unreachable"


async def test_callers_no_reaches_the_upstream(spans: Spans) -> None:
    """No span, and a `traceparent` that says so."""
    async with simulated(spans, None) as (upstream, got):
        await answer_of(upstream, UNSAMPLED)
    (sent,) = got
    assert sent.startswith(f"00-{'a' * 32}-")
    assert sent.endswith("-00")
    assert spans.ended == []


async def test_model_of_any_length_is_cut(spans: Spans) -> None:
    """A client may say what it likes; a span is bounded."""
    question = msgspec.structs.replace(ASKED, model="m" * 10_000)
    await answer_of(
        TracedUpstream(ScriptedUpstream([Finished("stop")]), spans.tracer, "x"), question
    )
    (span,) = spans.ended
    assert len(span.name) < 200
    assert len(span.to_json()) < 2000
