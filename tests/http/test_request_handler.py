"""What the hub does itself instead of aiohttp has the same effect as aiohttp."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from hub.http.errors import ErrorMiddleware, Handler
from hub.http.request_handler import HubRunner
from hub.http.routing import Operation, build_routes
from hub.testing.fakes import settled

LARGE = b"x" * 300_000
NAME = web.AppKey("name", str)


@web.middleware
async def mark(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["X-App"] = request.app[NAME]
    return response


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer as the query or the body says."""
    kind = request.query.get("kind") or (await request.read()).decode() or "json"
    if kind == "refuse":
        raise web.HTTPConflict(text="no", headers={"Retry-After": "1"})
    if kind == "stream":
        stream = web.StreamResponse(headers={"X-Kind": kind})
        await stream.prepare(request)
        await stream.write(b"a")
        return stream
    response = {
        "json": lambda: web.Response(body=b'{"a":1}', content_type="application/json"),
        "text": lambda: web.Response(text="ä", headers={"X-One": "ü"}),
        "bytes": lambda: web.Response(body=b"\0"),
        "large": lambda: web.Response(body=LARGE),
        "empty": lambda: web.Response(body=b""),
        "none": lambda: web.Response(body=None),
        "created": lambda: web.Response(status=201, body=b"1", headers={"Location": "/1"}),
        "reason": lambda: web.Response(status=299, reason="Fine", body=b"1"),
        "no content": lambda: web.Response(status=204, body=b""),
        "not modified": lambda: web.Response(status=304, body=b"1"),
        "error": lambda: web.Response(status=503, body=b"{}"),
        "length": lambda: web.Response(body=b"12", headers={"Content-Length": "2"}),
        "date": lambda: web.Response(body=b"1", headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        "server": lambda: web.Response(body=b"1", headers={"Server": "other"}),
        "two": lambda: web.Response(body=b"1", headers=[("X-A", "1"), ("X-A", "2")]),
        "control": lambda: web.Response(body=b"1", headers={"X-A": "a\rb"}),
    }.get(kind, lambda: web.Response(body=kind.encode()))()
    if kind == "cookie":
        response.set_cookie("a", "1")
    elif kind == "close":
        response.force_close()
    elif kind == "deflate":
        response.enable_compression(web.ContentCoding.deflate)
    elif kind == "chunked":
        response.enable_chunked_encoding()
    return response


KINDS = (
    *("json", "text", "bytes", "large", "empty", "none", "created", "reason", "no content"),
    *("not modified", "error", "length", "date", "server", "two", "control", "cookie", "close"),
    *("deflate", "chunked", "refuse", "stream"),
)


def application(*, with_hook: bool = False) -> web.Application:
    app = web.Application(middlewares=[ErrorMiddleware().respond, mark])
    app[NAME] = "n"
    for path in ("/a", "/a/{name}"):
        app.add_routes([web.get(path, answer), web.post(path, answer)])
    app.router.add_delete("/d", answer)

    async def hook(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Hook"] = "1"

    if with_hook:
        app.on_response_prepare.append(hook)
    return app


@asynccontextmanager
async def serving(runner: web.AppRunner) -> AsyncIterator[int]:
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def exchange(port: int, requests: bytes) -> bytes:
    """Send requests in one write, and another one that ends the connection, unless one of them does
    so. Return what comes until the server closes.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if b"Connection: close" not in requests and not requests.endswith(
        b"HTTP/1.0\r\nHost: x\r\n\r\n"
    ):
        requests += b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    try:
        writer.write(requests)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


def comparable(text: bytes) -> list[object]:
    """Return responses with the headers in one order, and without the second of the Date."""
    text = re.sub(rb"Date: (?!Thu, 01 Jan 1970)[^\r]*", b"Date: now", text)
    parts = re.split(rb"(HTTP/1\.[01] .*?\r\n\r\n)", text, flags=re.DOTALL)
    return [sorted(each.split(b"\r\n")) if each.startswith(b"HTTP/") else each for each in parts]


async def compare(app: web.Application, other: web.Application, requests: list[bytes]) -> None:
    async with (
        serving(HubRunner(app, access_log=None, max_field_size=8190)) as port,
        serving(web.AppRunner(other, access_log=None)) as other_port,
    ):
        for request in requests:
            hub, aiohttp = await exchange(port, request), await exchange(other_port, request)
            assert comparable(hub) == comparable(aiohttp), request
            assert hub or b"control" in request


@pytest.mark.parametrize("with_hook", [False, True])
async def test_responses_are_those_of_aiohttp(*, with_hook: bool) -> None:
    """Whatever a handler returns, for each method and version, the client gets the same response
    and the connection the same end.
    """
    requests = [
        b"%b /a?kind=%b %b\r\nHost: x\r\n%b\r\n"
        % (method, kind.replace(" ", "%20").encode(), version, header)
        for kind in KINDS
        for method, version, header in (
            (b"GET", b"HTTP/1.1", b""),
            (b"HEAD", b"HTTP/1.1", b""),
            (b"GET", b"HTTP/1.1", b"Connection: close\r\n"),
            (b"GET", b"HTTP/1.0", b""),
            (b"GET", b"HTTP/1.0", b"Connection: keep-alive\r\n"),
        )
        if (kind, version) != ("chunked", b"HTTP/1.0")  # a 500 that names the hub's log
    ]
    if with_hook:
        requests = requests[::5]
    await compare(application(with_hook=with_hook), application(with_hook=with_hook), requests)


async def test_requests_reach_the_handlers_of_aiohttp() -> None:
    """Paths, methods and headers lead to the same handler or error, whether a dictionary or
    aiohttp's router finds it, also when many requests arrive at once.
    """
    body = b"Host: x\r\nContent-Length: 4\r\n"
    requests = [
        b"POST /a HTTP/1.1\r\n" + body + b"\r\njson",
        b"POST /a HTTP/1.1\r\n" + body + b"Expect: 100-continue\r\n\r\ntext",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n",
        *(
            b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path)
            for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PURGE")
            for path in (b"/a", b"/a/", b"/a?x", b"/%61", b"/a/b", b"/A", b"/d", b"//a", b"/none")
        ),
        b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    many = b"".join(request for request in requests if b"100-continue" not in request)
    await compare(application(), application(), [*requests, many])


async def test_client_that_disconnects_ends_only_its_connection() -> None:
    """A response to a client that has gone is dropped, and the server answers others."""
    waiting, answered = asyncio.Event(), asyncio.Event()
    app = web.Application()

    async def late(_: web.Request) -> web.Response:
        waiting.set()
        await answered.wait()
        return web.Response(body=b"late")

    app.add_routes([web.get("/a", answer), web.get("/late", late)])
    runner = HubRunner(app, access_log=None, max_field_size=8190)
    async with serving(runner) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await waiting.wait()
            writer.transport.abort()
            while runner.request_handlers and runner.request_handlers[0].connected:
                await asyncio.sleep(0)
            answered.set()
            assert (await exchange(port, b"")).endswith(b'{"a":1}')
            while runner.request_handlers:
                await asyncio.sleep(0.01)


class Resource:
    """A change and a stream, whose handlers wait for `goes_on`."""

    def __init__(self) -> None:
        self.started, self.goes_on, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @Operation(id="a", method="DELETE", paths=["/a"], tag="t", summary="s", responses=[])
    async def change(self, _: web.Request) -> web.Response:
        return await self._wait()

    @Operation(
        id="b", method="POST", paths=["/b"], tag="t", summary="s", responses=[], long_lived=True
    )
    async def stream(self, _: web.Request) -> web.Response:
        return await self._wait()

    async def _wait(self) -> web.Response:
        self.started.set()
        await self.goes_on.wait()
        self.done.set()
        return web.Response()


@pytest.mark.parametrize(("request_line", "is_done"), [("DELETE /a", True), ("POST /b", False)])
async def test_change_whose_client_disconnects(request_line: str, is_done: bool) -> None:
    """It is carried out, where the handler of a stream is cancelled."""
    resource, cancelled = Resource(), asyncio.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app = web.Application(middlewares=[watch])
    app.add_routes(build_routes(resource))
    runner = HubRunner(app, access_log=None, max_field_size=8190, handler_cancellation=True)
    async with serving(runner) as port, asyncio.timeout(60):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await resource.started.wait()
        writer.transport.abort()
        await cancelled.wait()
        resource.goes_on.set()
        await settled()
        assert resource.done.is_set() is is_done
