"""The way of bytes into a socket: one write a tick, bounds that cost nothing per connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hub.transports.sse import SseResponse, SseSink, WriteBatch
from hub.web.listening import Place, SocketBounds, listening
from tests.topologies import free_ports

LIMIT = 10_000


class Writes:
    """Every write to the transport behind a sink, in order."""

    def __init__(self, sink: SseSink) -> None:
        self.sizes: list[int] = []
        real: Any = sink._transport
        self.real = real
        sink._transport = self  # type: ignore[assignment]

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self.real.write(data)

    def is_closing(self) -> bool:
        return bool(self.real.is_closing())


@asynccontextmanager
async def served(work: Callable[[SseSink], Any], version: str = "1.1") -> AsyncIterator[bytes]:
    """The body that a client reads after `work` has written to its sink."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = SseResponse()
        writer = await response.prepare(request)
        assert writer is not None
        sink = SseSink(request, writer, WriteBatch(), write_buffer_bytes=LIMIT)
        async with response:
            await work(sink)
            sink.flush()
        return response

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    async with listening(app, Place("127.0.0.1", 0, "x"), cancel_handlers=True) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            reply = await reader.read()
        writer.close()
        yield reply.partition(b"\r\n\r\n")[2]


async def test_one_tick_is_one_write() -> None:
    """Several events of one tick leave together; the next tick's apart; none waits for another."""
    found: list[int] = []

    async def work(sink: SseSink) -> None:
        writes = Writes(sink)
        for _ in range(3):
            sink.write(b"event\n")
        assert writes.sizes == []
        await asyncio.sleep(0)
        sink.write(b"later\n")
        await asyncio.sleep(0)
        found.extend(writes.sizes)

    async with served(work, version="1.0") as body:
        assert body == b"event\n" * 3 + b"later\n"
    assert found == [18, 6]


async def test_much_in_one_tick_does_not_pile_up() -> None:
    """At the socket's own limit it is handed over at once, so that a full socket is noticed."""

    async def work(sink: SseSink) -> None:
        writes = Writes(sink)
        for _ in range(100):
            sink.write(b"x" * 1000)
        assert sum(writes.sizes) == 100 * 1000 + len(writes.sizes) * len(b"2710\r\n\r\n")
        assert len(writes.sizes) == 10

    async with served(work) as body:
        assert body.count(b"x") == 100_000
        assert body.endswith(b"0\r\n\r\n")


async def test_last_words_are_before_the_end() -> None:
    """What was written in the tick in which the response ends is part of its body."""

    async def work(sink: SseSink) -> None:
        sink.write(b"bye\n")

    async with served(work) as body:
        assert body == b"4\r\nbye\n\r\n0\r\n\r\n"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has the option")
async def test_bounds_are_inherited_by_connections() -> None:
    """They are set once, on the listening socket."""
    seen: list[tuple[int, int]] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        seen.append(
            (
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            )
        )
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    bounds = SocketBounds(send_buffer_bytes=64 * 1024, user_timeout_seconds=7.5)
    place = Place("127.0.0.1", 0, "x")
    async with listening(app, place, cancel_handlers=True, bounds=bounds) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    assert seen == [(64 * 1024, 7500)]


async def test_host_name_with_two_addresses() -> None:
    """`localhost` is listened on in all its forms."""
    (free,) = free_ports(1)
    app = web.Application()
    async with listening(app, Place("localhost", free, "x"), cancel_handlers=True) as port:
        assert port == free
        for *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            _, writer = await asyncio.open_connection(str(address[0]), port)
            writer.close()
