"""The socket writer: order, one write per loop iteration, and inherited socket options."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import uvloop
from aiohttp import web

from hub.core.channel import ALL, Channel, user_channel
from hub.engine.streams.connection import Connection
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tasks import SystemClock
from hub.http.server import ListenAddress, SocketOptions, listen
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from hub.transports.socket_writer import SocketWriter, take_over
from hub.transports.sse import SseEventEncoder, SseResponse
from tests.doubles import new_connection
from tests.topologies import free_ports

LIMIT = 10_000
ENCODER = SseEventEncoder()


@asynccontextmanager
async def serving(work: Callable[[SocketWriter], Any]) -> AsyncIterator[int]:
    """Yield the port of a server that calls `work` with each client's writer."""
    working: list[asyncio.Task[None]] = []

    async def served(writer: SocketWriter) -> None:
        await work(writer)
        writer.close()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = SseResponse()
        await response.prepare(request)
        writer = take_over(request, write_buffer_bytes=LIMIT)
        working.append(asyncio.create_task(served(writer)))
        raise asyncio.CancelledError

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    options = SocketOptions(send_buffer_bytes=16 * 1024, user_timeout_seconds=30.0)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=True, options=options) as port:
        async with asyncio.timeout(60):
            yield port
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def request(version: str = "1.1") -> bytes:
    """Return the bytes of a request. With HTTP/1.0 the body arrives without chunks."""
    return f"GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


@asynccontextmanager
async def client_of(port: int, version: str = "1.1") -> AsyncIterator[asyncio.StreamReader]:
    """Yield a client that has sent its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(request(version))
    yield reader
    writer.close()


class Owner:
    """Waits until the writer is no longer full."""

    def __init__(self) -> None:
        self.flushed = asyncio.Event()

    def on_writable(self) -> None:
        self.flushed.set()

    def on_disconnect(self) -> None:
        pass


def segments_sent(writer: SocketWriter) -> int:
    """Return how many segments with data the server's socket has sent (Linux, tcp_info)."""
    sock = writer._transport.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("I", info, 156)[0])


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_order_survives_a_full_socket(run: Callable[[Any], None]) -> None:
    """Bytes that go directly into the socket and bytes that wait arrive as one stream."""
    sent: list[bytes] = []
    was_full: list[bool] = []

    async def work(writer: SocketWriter) -> None:
        for n in range(4000):
            frames = b"%07d " % n * (1 + n % 60)
            if writer.is_full:
                was_full.append(True)
                owner = Owner()
                writer.owner = owner
                await owner.flushed.wait()
            if writer.is_drained and n % 3 == 0:
                try:
                    done = writer.try_send(frames)
                except BlockingIOError:
                    done = 0
                writer.write(frames[done:])
            else:
                writer.write(frames)
            sent.append(frames)

    async def main() -> None:
        async with serving(work) as port, client_of(port, "1.0") as reader:
            await asyncio.sleep(0.05)  # the socket fills meanwhile
            body = (await reader.read(-1)).partition(b"\r\n\r\n")[2]
        assert body == b"".join(sent)

    run(main())
    assert was_full


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_waits_is_not_overtaken(run: Callable[[Any], None]) -> None:
    """New bytes do not use a socket that has room again before the waiting ones are sent."""
    sent = b"0"
    received = b""
    client = socket.socket()
    written = asyncio.Event()

    async def work(writer: SocketWriter) -> None:
        nonlocal sent, received
        writer.write(sent)
        await asyncio.sleep(0.05)
        while writer.is_drained:
            frames = b"%07d " % len(sent) * 1000
            writer.write(frames)
            sent += frames
        received += client.recv(1024 * 1024)
        writer.write(b"the end")
        sent += b"the end"
        written.set()

    async def main() -> None:
        nonlocal received
        async with serving(work) as port:
            client.connect(("127.0.0.1", port))
            client.sendall(request("1.0"))
            await written.wait()
            received += await asyncio.to_thread(read_all, client)

    with client:
        run(main())
    assert received.partition(b"\r\n\r\n")[2] == sent


def read_all(sock: socket.socket) -> bytes:
    """Read until the other side closes."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_closed_socket_gets_nothing(run: Callable[[Any], None]) -> None:
    """Its descriptor may be another client's by now, so not one byte may be written to it."""
    writers: list[SocketWriter] = []

    async def work(writer: SocketWriter) -> None:
        writers.append(writer)
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(work) as port, client_of(port) as reader:
            await reader.readuntil(b"\r\n\r\n")
            first = writers[0]
            number = first._transport.get_extra_info("socket").fileno()
            first.abort()
            assert first.is_closing()
            first.write(b"secret")
            await asyncio.sleep(0.05)
            taken = [*socket.socketpair()]
            while number not in {each.fileno() for each in taken}:
                taken += socket.socketpair()
            first.write(b"secret")
            for each in taken:
                each.setblocking(False)
                with pytest.raises(BlockingIOError):
                    each.recv(10)
            for each in taken:
                each.close()
            assert await reader.read() == b""

    run(main())


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux alone has the option")
@pytest.mark.parametrize("channel", [user_channel("alice"), ALL])
def test_events_of_one_iteration_are_one_write(channel: Channel) -> None:
    """One event is sent at once; ten events of one loop iteration are one write per client."""

    async def main() -> None:
        backend, clock = MemoryBackend(), SystemClock()
        registry = Connections(
            backend.events,
            backend.subscriptions,
            HeartbeatWheel(clock, 8.0),
            clock,
            node="n",
            heartbeat_seconds=8.0,
        )
        connections: list[Connection] = []

        async def work(writer: SocketWriter) -> None:
            connection = new_connection(
                "alice", [user_channel("alice"), ALL], writer, clock, encoder=ENCODER
            )
            connections.append(connection)
            await registry.attach_and_wait(connection, {})

        async def publish(count: int) -> list[int]:
            writers = [cast(SocketWriter, connection.writer) for connection in connections]
            before = [segments_sent(writer) for writer in writers]
            await backend.events.publish(
                [Publication(channel=channel, name="n", data=b"1")] * count
            )
            return [segments_sent(writer) - b for writer, b in zip(writers, before, strict=True)]

        async with serving(work) as port, client_of(port) as first, client_of(port) as second:
            for reader in (first, second):
                await reader.readuntil(b"hub.open")
            await asyncio.sleep(0.01)
            await publish(1)  # lets them enter the synced state
            assert all(connection.is_synced for connection in connections)
            assert await publish(1) == [1, 1]
            assert await publish(10) == [1, 1]
            for reader in (first, second):
                for _ in range(12):
                    await reader.readuntil(b"data: 1\nid: ")

    uvloop.run(main())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has the option")
async def test_bounds_are_inherited_by_connections() -> None:
    """They are set once, on the listening socket."""
    seen: list[tuple[int, int, bool]] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        seen.append(
            (
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
            )
        )
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    options = SocketOptions(send_buffer_bytes=64 * 1024, user_timeout_seconds=7.5)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=True, options=options) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    assert seen == [(64 * 1024, 7500, True)]


async def test_host_name_with_two_addresses() -> None:
    """The server listens on all addresses of `localhost`."""
    (free,) = free_ports(1)
    app = web.Application()
    async with listen(app, ListenAddress("localhost", free, "x"), cancel_handlers=True) as port:
        assert port == free
        for *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            _, writer = await asyncio.open_connection(str(address[0]), port)
            writer.close()


async def test_client_that_goes_on_talking_is_cut_off() -> None:
    ended = asyncio.Event()

    class Owner:
        def on_writable(self) -> None: ...

        def on_disconnect(self) -> None:
            ended.set()

    async def work(writer: SocketWriter) -> None:
        writer.owner = Owner()
        await ended.wait()

    async with serving(work) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 60 * 1024)
        await asyncio.sleep(0.1)
        assert not ended.is_set()
        writer.write(b"x" * 10 * 1024)
        await ended.wait()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_bytes_are_the_kernels_count() -> None:
    """The count includes the headers, whichever way the bytes took."""
    sizes: list[int | None] = []
    all_received = asyncio.Event()

    async def work(writer: SocketWriter) -> None:
        for _ in range(50):
            writer.write(b"x" * 1000)
            await asyncio.sleep(0)
        writer.write(b"end")
        await all_received.wait()
        sizes.append(writer.sent_bytes())

    async with serving(work) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        received = await reader.readuntil(b"end")
        all_received.set()
        received += await reader.read()
        writer.close()
    assert sizes == [len(received)]
