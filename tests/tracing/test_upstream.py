from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from opentelemetry.trace import SpanKind, StatusCode

from hub.core.parts import Finished, Part, Text, Usage
from hub.engine.tasks import SystemClock
from hub.engine.worker.failover import CircuitBreaker, Failover
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.ports.upstreams import Upstream
from hub.tracing.upstream import TracedUpstream, http_spans
from hub.upstreams.simulated.server import SimulatedUpstream
from tests.defaults import endpoint, simulation
from tests.doubles import Gate, ScriptedUpstream, settled
from tests.tracing.conftest import Spans
from tests.upstreams.kit import REQUEST, build_upstream

SAMPLED = msgspec.structs.replace(REQUEST, trace=f"00-{'a' * 32}-{'c' * 16}-01")
UNSAMPLED = msgspec.structs.replace(REQUEST, trace=f"00-{'a' * 32}-{'c' * 16}-00")


async def read_answer(upstream: Upstream, request: object = SAMPLED) -> list[Part]:
    """Return all parts of an answer."""
    assert isinstance(request, type(SAMPLED))
    async with aclosing(upstream.stream(request)) as stream:
        return [part async for parts in stream for part in parts]


@asynccontextmanager
async def simulated(spans: Spans, fault: str | None) -> AsyncIterator[tuple[Upstream, list[str]]]:
    """Return a traced upstream over HTTP with one retry, and each `traceparent` that it sent."""
    sent: list[str] = []

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        sent.append(request.headers["traceparent"])

    llm = SimulatedUpstream(
        simulation(fault=fault, tokens_per_second=5000.0, first_token_seconds=0.0)
    ).app()
    llm.on_response_prepare.append(on_prepare)
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
        yield TracedUpstream(Failover([one], clock), spans.tracer, "openai"), sent


@pytest.mark.parametrize(
    ("kind", "provider"), [("openai-responses", "openai"), ("anthropic", "anthropic")]
)
async def test_answer_is_a_span_of_generative_ai(spans: Spans, kind: str, provider: str) -> None:
    """The span has the request, the end and the usage, and is a child of the caller's span."""
    script: Sequence[Part] = [
        Usage({"prompt_tokens": 7}),
        Text("private"),
        Text("words"),
        Usage({"completion_tokens": 9}),
        Finished("length"),
    ]
    parts = await read_answer(TracedUpstream(ScriptedUpstream(script), spans.tracer, kind))
    assert parts == script
    span, attributes = spans.only("chat m")
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == int("c" * 16, 16)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.response.finish_reasons": ("length",),
    }


async def test_failure_has_its_code(spans: Spans) -> None:
    """The text of an upstream may quote the prompt, so it is not in the span."""
    error = UpstreamError("upstream_status", "400: you attributes 'private'", retryable=False)
    upstream = TracedUpstream(ScriptedUpstream([Text("a"), error]), spans.tracer, "openai")
    with pytest.raises(UpstreamError):
        await read_answer(upstream)
    span, attributes = spans.only("chat m")
    assert attributes["error.type"] == "upstream_status"
    assert span.status.status_code is StatusCode.ERROR
    assert "private" not in span.to_json()


async def test_other_exception_has_its_type(spans: Spans) -> None:
    """Any exception that is no UpstreamError ends the span with its type."""
    upstream = TracedUpstream(ScriptedUpstream([ValueError("private")]), spans.tracer, "openai")
    with pytest.raises(ValueError, match="private"):
        await read_answer(upstream)
    span, attributes = spans.only("chat m")
    assert attributes["error.type"] == "ValueError"
    assert "private" not in span.to_json()


async def test_stopped_answer_ends_its_span(spans: Spans) -> None:
    """A cancelled answer ends the span without an error and closes the upstream."""
    gate = Gate()
    gate.close()
    script = ScriptedUpstream([Text("a"), gate])
    task = asyncio.create_task(read_answer(TracedUpstream(script, spans.tracer, "openai")))
    await settled()
    assert gate.waiting == 1
    assert spans.ended == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span, _ = spans.only("chat m")
    assert span.status.status_code is StatusCode.UNSET
    assert script.closed == 1


async def test_each_attempt_is_a_request_span(spans: Spans) -> None:
    """Two attempts are two HTTP spans below one chat span, and the upstream gets their ids."""
    async with simulated(spans, "flaky:1") as (upstream, sent):
        await read_answer(upstream)
    chat, _ = spans.only("chat m")
    own = chat.get_span_context()
    assert own is not None
    posts = [span for span in spans.ended if span.name == "POST"]
    assert [(span.attributes or {})["http.response.status_code"] for span in posts] == [503, 200]
    assert [span.status.status_code for span in posts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [span.parent.span_id for span in posts if span.parent] == [own.span_id] * 2
    ids = [span.get_span_context() for span in posts]
    assert sent == [f"00-{'a' * 32}-{each.span_id:016x}-01" for each in ids if each]
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


async def test_unreachable_upstream_has_the_type_of_the_error(spans: Spans) -> None:
    """A request without a response fails its span and the chat span."""
    async with aiohttp.ClientSession(trace_configs=[http_spans(spans.tracer)]) as session:
        upstream = build_upstream(session, "http://127.0.0.1:1/v1")
        with pytest.raises(UpstreamError):
            await read_answer(TracedUpstream(upstream, spans.tracer, "openai"))
    _, attributes = spans.only("POST")
    assert attributes["error.type"] == "ClientConnectorError"
    _, attributes = spans.only("chat m")
    assert attributes["error.type"] == "upstream_unreachable"


async def test_unsampled_request(spans: Spans) -> None:
    """There is no span, and the `traceparent` that is sent is not sampled."""
    async with simulated(spans, None) as (upstream, sent):
        await read_answer(upstream, UNSAMPLED)
    (traceparent,) = sent
    assert traceparent.startswith(f"00-{'a' * 32}-")
    assert traceparent.endswith("-00")
    assert spans.ended == []


async def test_long_model_is_cut(spans: Spans) -> None:
    """A client chooses the model, but a span is bounded."""
    request = msgspec.structs.replace(SAMPLED, model="m" * 10_000)
    await read_answer(
        TracedUpstream(ScriptedUpstream([Finished("stop")]), spans.tracer, "x"), request
    )
    (span,) = spans.ended
    assert len(span.name) < 200
    assert len(span.to_json()) < 2000
