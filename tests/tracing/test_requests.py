from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.trace import SpanKind, StatusCode

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


async def question_trace(hub: Hub, generation: str) -> str:
    """What the record of a question holds for its worker."""
    found = await hub.backend.generations.find(generation)
    assert found is not None
    return found.request.trace


async def test_request_is_a_span_in_its_callers_trace(hub: Hub, spans: Spans) -> None:
    """Route and status by the semantic conventions; its question carries it."""
    status, answer = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "hidden"}, headers=SAMPLED
    )
    assert status == 202
    span, said = spans.only("POST /generations")
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert span.parent.span_id == int(CALLER, 16)
    assert said == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/generations",
        "http.response.status_code": 202,
    }
    own = span.get_span_context()
    assert own is not None
    trace = await question_trace(hub, answer["generation"])
    assert trace == f"00-{TRACE}-{own.span_id:016x}-01"
    _, shown = await hub.call("GET", f"/generations/{answer['generation']}?user=alice")
    assert TRACE not in str(shown)


async def test_callers_no_is_kept(hub: Hub, spans: Spans) -> None:
    """No span, and the worker is told not to make one either."""
    _, answer = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "x"}, headers=UNSAMPLED
    )
    trace = await question_trace(hub, answer["generation"])
    assert trace.startswith(f"00-{TRACE}-")
    assert trace.endswith("-00")
    assert spans.ended == []


async def test_question_asked_again_belongs_to_who_asks_again(hub: Hub) -> None:
    """A restart does not continue the first one's trace."""
    _, first = await hub.call(
        "POST", "/generations?user=alice", json={"prompt": "x"}, headers=SAMPLED
    )
    path = f"/generations/{first['generation']}/restart?user=alice"
    _, again = await hub.call("POST", path)
    trace = await question_trace(hub, again["generation"])
    assert trace
    assert TRACE not in trace


async def test_stream_is_a_span_until_its_headers(hub: Hub, spans: Spans) -> None:
    """It has ended while the stream is open, and names the pattern, not the user."""
    async with hub.stream("/sse/connect/alice", headers=SAMPLED) as stream:
        span, said = spans.only("GET /sse/connect/{user_id}")
        assert said["http.response.status_code"] == 200
        assert "alice" not in span.to_json()
        assert stream.response.status == 200


async def test_websocket_is_a_span_until_it_is_open(hub: Hub, spans: Spans) -> None:
    """What is asked over it later belongs to no request."""
    url = f"ws://127.0.0.1:{hub.port}/ws/connect/alice"
    async with hub.session.ws_connect(url, headers=SAMPLED) as socket:
        await socket.receive()
        assert spans.names == ["GET /ws/connect/{user_id}"]
        await socket.send_json({"type": "generate", "id": 1, "body": {"prompt": "x"}})
        told = ""
        while "hub.reply" not in told:
            told = str((await socket.receive()).data)
        (generation,) = (await hub.backend.queue.list_jobs(10)).generations
        assert await question_trace(hub, generation) == ""
    assert len(spans.ended) == 1


async def test_probes_are_no_spans(hub: Hub, spans: Spans) -> None:
    """They come every few seconds, for ever."""
    for path in ("/healthz", "/readyz", "/metrics"):
        async with hub.ask("GET", path, internal=True):
            pass
    assert spans.ended == []


async def test_path_that_is_no_route_is_not_named(hub: Hub, spans: Spans) -> None:
    """Else each path that somebody tries were a name; nor is a method that there is not."""
    await hub.call("GET", "/nowhere/alice")
    await hub.call("PROPFIND", "/generations")
    assert spans.names == ["GET", "HTTP"]
    statuses = [(span.attributes or {})["http.response.status_code"] for span in spans.ended]
    assert statuses == [404, 405]
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.ended)


async def test_fault_of_the_hub_fails_the_span(hub: Hub, spans: Spans) -> None:
    """With the status that is answered; the exception's text stays in the hub's own log."""
    hub.backend.is_unavailable = True
    status, _ = await hub.publish(to={"all": True})
    assert status == 503
    span, said = spans.only("POST /publish")
    assert said["error.type"] == "503"
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()


async def test_fault_outside_of_the_problems_is_a_500(spans: Spans) -> None:
    """Where nothing inside makes an answer of an exception, its kind is told and nothing else."""
    app = web.Application()
    app.add_routes([web.get("/boom", boom)])
    OpenTelemetry(spans.tracer).watch(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{address[1]}/boom") as answer,
    ):
        assert answer.status == 500
    await runner.cleanup()
    await until(lambda: bool(spans.ended))
    span, said = spans.only("GET /boom")
    assert said["error.type"] == "RuntimeError"
    assert "nobody may read" not in span.to_json()
