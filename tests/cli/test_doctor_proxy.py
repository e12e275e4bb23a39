"""`hub doctor --url` with proxies that fail in ways that nginx does not: small HTTP servers."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from hub.cli.doctor import CheckResult, ProbeTarget, check_proxy

OPEN = {"heartbeat_seconds": 0.2}
BYE = {"reason": "draining"}
PLAIN = {"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform"}


def event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def stream_response(request: web.Request) -> web.StreamResponse:
    """Respond to /sse/connect with the fault that the path names."""
    fault = request.match_info["fault"]
    match fault:
        case "refusing":
            problem = {"detail": "the token has expired"}
            return web.json_response(problem, status=401, content_type="application/problem+json")
        case "compressing":
            compressed = {"Content-Type": "application/problem+json", "Content-Encoding": "gzip"}
            return web.Response(body=gzip.compress(b"{}"), status=401, headers=compressed)
        case "refusing slowly":
            slow = web.StreamResponse(status=401)
            slow.content_type = "application/problem+json"
            await slow.prepare(request)
            await asyncio.Event().wait()
        case "another application":
            return web.json_response({"message": "ok"})
        case "collecting":
            return web.Response(body=event("hub.open", OPEN), headers=PLAIN)
        case "dead":
            await asyncio.Event().wait()
    more = {"Age": "30"} if fault == "cached" else {}
    stream = web.StreamResponse(
        headers={**PLAIN, **more, "Hub-Doctor-Report": "HTTP/1.1; connection=kept"}
    )
    await stream.prepare(request)
    if fault != "no event":
        await stream.write(event("hub.open", OPEN))
    if fault == "draining":
        await stream.write(event("hub.bye", BYE))
        return stream
    while fault == "cached":
        await stream.write(b": hb\n")
        await asyncio.sleep(0.1)
    await asyncio.Event().wait()
    return stream


async def poll(request: web.Request) -> web.Response:
    if request.match_info["fault"] == "dead":
        await asyncio.Event().wait()
    if request.match_info["fault"] == "another application":
        return web.json_response({"message": "ok"})
    return web.json_response({"events": [], "cursor": "x"})


async def publish(request: web.Request) -> web.Response:
    """Never respond."""
    await asyncio.Event().wait()
    return web.Response()


@pytest.fixture
async def faulty_proxies(aiohttp_server: AiohttpServer) -> str:
    """Serve the faults, and return the URL below which each has its name."""
    app = web.Application()
    app.router.add_get("/{fault}/sse/connect/{user}", stream_response)
    app.router.add_get("/{fault}/poll/connect/{user}", poll)
    app.router.add_post("/publish", publish)
    server = await aiohttp_server(app, shutdown_timeout=0.1)
    return str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("silent", "heartbeats", "buffers the stream: no heartbeat for"),
        ("no event", "stream", "buffers the stream: the headers arrived"),
        ("draining", "heartbeats", "the hub ended the stream itself: draining"),
        ("collecting", "stream headers", "Content-Length"),
        ("cached", "stream headers", "from a cache"),
        ("refusing", "proxy", "401: the token has expired"),
        ("refusing slowly", "proxy", "401: the reason cannot be read"),
        ("compressing", "proxy", "401: the reason cannot be read"),
        ("another application", "proxy", "status 200 and type application/json"),
        ("silent", "event delay", "cannot publish a test event: no response within 2 s"),
        ("dead", "proxy", "neither a stream nor a complete response"),
    ],
)
async def test_other_faults(faulty_proxies: str, fault: str, check: str, message: str) -> None:
    """Each fault has a result of its own, with advice."""
    slow = dict.fromkeys(("silent", "no event", "dead", "refusing slowly"), 2.0)
    timeout_seconds = slow.get(fault, 10.0)
    internal_url = faulty_proxies if check == "event delay" else None
    # Polls are checked from more than 1 s on; a silence counts that is longer than the timeout.
    seconds = {"another application": 1.5, "silent": 3.5}.get(fault, 1.0)
    target = ProbeTarget(
        f"{faulty_proxies}/{fault}",
        seconds,
        internal_url=internal_url,
        timeout_seconds=timeout_seconds,
    )
    async with asyncio.timeout(60):
        results: list[CheckResult] = await check_proxy(target)
    matching = [r for r in results if r.check == check and message in r.message]
    assert matching, results
    assert matching[0].status != "ok"
    assert matching[0].advice
