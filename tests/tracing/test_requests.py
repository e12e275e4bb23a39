from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from opentelemetry.trace import SpanKind, StatusCode
from pytest_aiohttp import AiohttpClient

from hub.tracing.tracing import OpenTelemetry
from tests.doubles import until
from tests.http.kit import Hub, running_hub
from tests.tracing.conftest import Spans

TRACE, CALLER = "a" * 32, "c" * 16
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}


async def boom(request: web.Request) -> web.Response:
    raise RuntimeError("what nobody may read")


@pytest.fixture
async def hub(spans: Spans) -> AsyncIterator[Hub]:
    tracing = OpenTelemetry(spans.tracer)
    async with running_hub(tracing=tracing) as running:
        yield running


async def record_trace(hub: Hub, generation: str) -> str:
    """Return the trace that the record of a generation keeps for the worker."""
    record = await hub.backend.generations.find(generation)
    assert record is not None
    return record.request.trace


async def test_request_is_a_span_in_its_callers_trace(hub: Hub, spans: Spans) -> None:
    """The span has route and status, and the generation keeps the trace."""
    status, answer = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "hidden"}, headers=SAMPLED
    )
    assert status == 202
    span, attributes = spans.only("POST /generations")
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert span.parent.span_id == int(CALLER, 16)
    assert attributes == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/generations",
        "http.response.status_code": 202,
    }
    own = span.get_span_context()
    assert own is not None
    trace = await record_trace(hub, answer["generation"])
    assert trace == f"00-{TRACE}-{own.span_id:016x}-01"
    _, shown = await hub.call("GET", f"/generations/{answer['generation']}?user=alice")
    assert TRACE not in str(shown)


async def test_unsampled_request(hub: Hub, spans: Spans) -> None:
    """There is no span, and the worker makes none either."""
    _, answer = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "x"}, headers=UNSAMPLED
    )
    trace = await record_trace(hub, answer["generation"])
    assert trace.startswith(f"00-{TRACE}-")
    assert trace.endswith("-00")
    assert spans.ended == []


async def test_restarted_generation_has_its_own_trace(hub: Hub) -> None:
    """A restart does not continue the trace of the first request."""
    _, first = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "x"}, headers=SAMPLED
    )
    path = f"/generations/{first['generation']}/restart?user=alice"
    _, again = await hub.call("POST", path)
    trace = await record_trace(hub, again["generation"])
    assert trace
    assert TRACE not in trace


async def test_span_of_a_stream_ends_with_its_headers(hub: Hub, spans: Spans) -> None:
    """The span ends while the stream is open, and has the route pattern, not the user."""
    async with hub.stream("/sse/connect/alice", headers=SAMPLED) as stream:
        span, attributes = spans.only("GET /sse/connect/{user_id}")
        assert attributes["http.response.status_code"] == 200
        assert "alice" not in span.to_json()
        assert stream.response.status == 200


async def test_span_of_a_websocket_ends_when_it_opens(hub: Hub, spans: Spans) -> None:
    """A message that arrives later does not belong to the request."""
    url = f"ws://127.0.0.1:{hub.port}/ws/connect/alice"
    async with hub.session.ws_connect(url, headers=SAMPLED) as socket:
        await socket.receive()
        assert spans.names == ["GET /ws/connect/{user_id}"]
        await socket.send_json({"type": "generate", "id": 1, "body": {"prompt": "x"}})
        message = ""
        while "hub.reply" not in message:
            message = str((await socket.receive()).data)
        (generation,) = (await hub.backend.queue.list_jobs(10)).generations
        assert await record_trace(hub, generation) == ""
    assert len(spans.ended) == 1


async def test_probes_make_no_spans(hub: Hub, spans: Spans) -> None:
    """Probes come every few seconds, so they would hide other requests."""
    for path in ("/healthz", "/readyz", "/metrics"):
        async with hub.ask("GET", path, internal=True):
            pass
    assert spans.ended == []


async def test_unknown_path_and_method_are_not_in_the_name(hub: Hub, spans: Spans) -> None:
    """Otherwise every path or method that a client tries would be a span name."""
    await hub.call("GET", "/nowhere/alice")
    await hub.call("PROPFIND", "/generations")
    assert spans.names == ["GET", "HTTP"]
    statuses = [(span.attributes or {})["http.response.status_code"] for span in spans.ended]
    assert statuses == [404, 405]
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.ended)


async def test_fault_of_the_hub_fails_the_span(hub: Hub, spans: Spans) -> None:
    """The span has the status, and the text of the exception is only in the log."""
    hub.backend.is_unavailable = True
    status, _ = await hub.publish(to={"all": True})
    assert status == 503
    span, attributes = spans.only("POST /publish")
    assert attributes["error.type"] == "503"
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()


async def test_fault_outside_of_the_problems_is_a_500(
    spans: Spans, aiohttp_client: AiohttpClient
) -> None:
    """An unhandled exception is a 500, and the span has its type only."""
    app = web.Application()
    app.add_routes([web.get("/boom", boom)])
    OpenTelemetry(spans.tracer).watch(app)
    client = await aiohttp_client(app)
    async with client.get("/boom") as answer:
        assert answer.status == 500
    await until(lambda: bool(spans.ended))
    span, attributes = spans.only("GET /boom")
    assert attributes["error.type"] == "RuntimeError"
    assert "nobody may read" not in span.to_json()
