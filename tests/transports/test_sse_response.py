"""What the hub needs from private details of aiohttp-sse 3 and aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp_sse import EventSourceResponse

from hub.http.request_handler import HubRunner
from hub.http.server import ListenAddress, listen
from hub.transports.sse import HEADERS, SseResponse


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


class ReferenceResponse(EventSourceResponse):
    """The same response, with a head that aiohttp sends."""

    def __init__(self) -> None:
        super().__init__(sep="\n")
        self.headers.update(HEADERS)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.headers["Connection"] = "close"
        self.force_close()
        return await web.StreamResponse.prepare(self, request)


async def test_head_is_that_of_aiohttp() -> None:
    """The head is the same for both versions of HTTP, with further headers and with those that the
    application adds.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        response = SseResponse() if request.path == "/hub" else ReferenceResponse()
        response.headers.update(dict.fromkeys(request.query, "ü 1"))
        await response.prepare(request)
        return response

    async def add_header(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add("Vary", "Origin")

    app = web.Application()
    app.add_routes([web.get("/hub", handler), web.get("/aiohttp", handler)])
    app.on_response_prepare.append(add_header)
    async with listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=True) as port:
        for version in ("1.1", "1.0"):
            for query in ("", "?X-A", "?X-A&Content-Type"):
                heads = []
                for path in ("/hub", "/aiohttp"):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    line = f"GET {path}{query} HTTP/{version}\r\nHost: x\r\n\r\n"
                    writer.write(line.encode())
                    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
                    writer.close()
                    assert b"\r\nDate: " in head
                    lines = [each for each in head.split(b"\r\n") if not each.startswith(b"Date:")]
                    heads.append(sorted(lines))
                assert heads[0] == heads[1]
