"""Requests to URLs that users have named."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from hub.http.outgoing import RequestFailed, open_public_client


class FixedResolver(AbstractResolver):
    """Resolves every name to the same addresses, and counts the look-ups."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.hosts: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.hosts.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Do nothing."""


@asynccontextmanager
async def open_server(handler: Any) -> AsyncIterator[TestServer]:
    """Serve one handler for every POST."""
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    server = TestServer(app)
    await server.start_server()
    try:
        yield server
    finally:
        await server.close()


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["10.0.0.1", "127.0.0.1"], ["::ffff:127.0.0.1"]]
)
async def test_private_name(addresses: list[str]) -> None:
    """A public name that resolves to private addresses gets no connection."""
    resolver = FixedResolver(addresses)
    async with open_public_client(timeout_seconds=20, resolver=resolver) as client:
        with pytest.raises(RequestFailed, match="no public address") as raised:
            await client.post("https://push.example.com/secret", b"x", {})
    assert raised.value.is_final
    assert resolver.hosts == ["push.example.com"]


async def test_private_literal() -> None:
    """An address in the URL is refused before anything is connected."""
    async with open_public_client(timeout_seconds=20) as client:
        with pytest.raises(RequestFailed, match="not public"):
            await client.post("https://127.0.0.1:1/", b"x", {})


async def test_no_redirect() -> None:
    """A redirect is a response, not a second request."""
    paths = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/second", "Set-Cookie": "a=b"})

    async with (
        open_server(redirect) as server,
        open_public_client(allow_private=True, timeout_seconds=20) as client,
    ):
        for _ in range(2):
            response = await client.post(str(server.make_url("/first")), b"x", {"A": "b"})
            assert (response.status, response.headers["location"]) == (307, "/second")
    assert paths == ["/first", "/first"]


@pytest.mark.parametrize("host", ["x..y", "...", f"{'a' * 64}.example"])
async def test_name_that_dns_cannot_have(host: str) -> None:
    """The request fails each time."""
    async with open_public_client(timeout_seconds=20) as client:
        with pytest.raises(RequestFailed, match="not valid") as raised:
            await client.post(f"https://{host}/", b"", {})
    assert raised.value.is_final


async def test_large_response() -> None:
    """Only the start of a response is read."""

    async def respond(request: web.Request) -> web.Response:
        return web.Response(status=500, body=b"x" * 1_000_000)

    async with (
        open_server(respond) as server,
        open_public_client(allow_private=True, timeout_seconds=20) as client,
    ):
        response = await client.post(str(server.make_url("/")), b"", {})
    assert (response.status, len(response.body)) == (500, 4096)


async def test_no_response() -> None:
    """A host that hangs or refuses the connection is a failure that may pass."""
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with (
        open_server(hang) as server,
        open_public_client(allow_private=True, timeout_seconds=0.05) as client,
    ):
        url = str(server.make_url("/"))
        with pytest.raises(RequestFailed, match=r"0\.05 seconds") as raised:
            await client.post(url, b"", {})
        released.set()
    assert not raised.value.is_final
    async with open_public_client(allow_private=True, timeout_seconds=20) as client:
        with pytest.raises(RequestFailed, match="cannot be reached") as raised:
            await client.post(url, b"", {})
    assert not raised.value.is_final


@pytest.mark.parametrize("ends", ["never", "cut"])
async def test_body_that_does_not_end(ends: str) -> None:
    """The status counts, because the server has said what became of the request: a push that was
    accepted is not sent again.
    """
    done = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=201, headers={"X-A": "b", "Content-Length": "9"})
        await response.prepare(request)
        await response.write(b"start")
        if ends == "never":
            await done.wait()
        elif request.transport is not None:
            request.transport.close()
        return response

    async with (
        open_server(handle) as server,
        open_public_client(allow_private=True, timeout_seconds=1) as client,
    ):
        response = await client.post(str(server.make_url("/")), b"", {})
        done.set()
    assert (response.status, response.headers["x-a"]) == (201, "b")
    assert response.body in (b"", b"start")


async def test_compressed_response() -> None:
    """A compressed response is not decompressed, so that a small one cannot become a large one."""
    compressed = gzip.compress(bytes(50_000_000))

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=compressed, headers={"Content-Encoding": "gzip"})

    async with (
        open_server(handler) as server,
        open_public_client(allow_private=True, timeout_seconds=20) as client,
    ):
        tracemalloc.start()
        response = await client.post(str(server.make_url("/")), b"x", {})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(response.body) == 4096
    assert peak < 10_000_000
