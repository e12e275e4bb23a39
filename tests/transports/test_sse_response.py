"""What the hub needs from private details of aiohttp-sse 3 and aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from hub.http.request_handler import HubRunner
from hub.http.server import ListenAddress, listen
from hub.transports.sse import SseResponse


async def test_response_keeps_its_class_without_its_tasks() -> None:
    """is_connected, wait, stop_streaming and last_event_id work, and no ping task runs."""
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        response = SseResponse()
        await response.prepare(request)
        async with response:
            seen["connected"] = response.is_connected()
            seen["id"] = response.last_event_id
            seen["tasks"] = [task.get_coro() for task in asyncio.all_tasks()]
            asyncio.get_running_loop().call_soon(response.stop_streaming)
            await response.wait()
            seen["after"] = response.is_connected()
            await response.send("by the class's own send", event="e", id="1")
        return response

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    async with (
        listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=True) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/", headers={"Last-Event-ID": "7"}) as response,
    ):
        body = await response.read()
    assert (seen["connected"], seen["id"], seen["after"]) == (True, "7", False)
    assert not [task for task in seen["tasks"] if "_ping" in str(task)]  # type: ignore[attr-defined]
    assert body == b"id: 1\nevent: e\ndata: by the class's own send\n\n"


async def test_dropped_runner_options_are_an_error() -> None:
    """aiohttp drops every option if it does not know one; the hub then refuses to start."""
    runner = HubRunner(
        web.Application(), handler_cancelation=True, keepalive_timeout=75.0, max_field_size=8190
    )
    with pytest.raises(TypeError, match="handler_cancelation"):
        await runner.setup()
    await runner.cleanup()
