"""`hub doctor --url` before fronts that misbehave as no nginx does: HTTP servers of our own."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hub.cli.doctor import CheckResult, ProbeTarget, check_proxy

OPEN = {"heartbeat_seconds": 0.2}
BYE = {"reason": "draining"}
PLAIN = {"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform"}


def event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def front(request: web.Request) -> web.StreamResponse:
    """A stream as the name in the path wants it."""
    fault = request.match_info["fault"]
    match fault:
        case "refusing":
            problem = {"detail": "the token has expired"}
            return web.json_response(problem, status=401, content_type="application/problem+json")
        case "packing":
            packed = {"Content-Type": "application/problem+json", "Content-Encoding": "gzip"}
            return web.Response(body=gzip.compress(b"{}"), status=401, headers=packed)
        case "refusing slowly":
            slow = web.StreamResponse(status=401)
            slow.content_type = "application/problem+json"
            await slow.prepare(request)
            await asyncio.Event().wait()
        case "another":
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
    if fault != "mute":
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
    if request.match_info["fault"] == "another":
        return web.json_response({"message": "ok"})
    return web.json_response({"events": [], "cursor": "x"})


async def publish(request: web.Request) -> web.Response:
    """Never answers."""
    await asyncio.Event().wait()
    return web.Response()


@asynccontextmanager
async def fronts() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{fault}/sse/connect/{user}", front)
    app.router.add_get("/{fault}/poll/connect/{user}", poll)
    app.router.add_post("/publish", publish)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("fault", "check", "says"),
    [
        ("silent", "heartbeats", "held back: none for"),
        ("mute", "stream", "held back: headers came"),
        ("draining", "heartbeats", "the hub ended the stream itself: draining"),
        ("collecting", "stream headers", "Content-Length"),
        ("cached", "stream headers", "out of a cache"),
        ("refusing", "front", "401: the token has expired"),
        ("refusing slowly", "front", "401: its reason cannot be read"),
        ("packing", "front", "401: its reason cannot be read"),
        ("another", "front", "200 and application/json come instead"),
        ("silent", "delay", "no test event: no answer within 0.5 s"),
        ("dead", "front", "neither a stream nor a whole answer"),
    ],
)
async def test_other_faults(fault: str, check: str, says: str) -> None:
    """Each is told from the others, with an advice."""
    async with fronts() as url:
        patience = 0.5 if fault in ("silent", "mute", "dead", "refusing slowly") else 10.0
        inside = url if check == "delay" else None
        seconds = 1.5 if fault == "another" else 1.0  # from more than 1 on, polls are looked at
        visit = ProbeTarget(
            f"{url}/{fault}", seconds, internal_url=inside, timeout_seconds=patience
        )
        async with asyncio.timeout(20):
            found: list[CheckResult] = await check_proxy(visit)
    shown = [finding for finding in found if finding.check == check and says in finding.found]
    assert shown, found
    assert shown[0].verdict != "ok"
    assert shown[0].advice
