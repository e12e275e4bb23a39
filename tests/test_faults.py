"""The fault proxy does to the network what its methods promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.doubles import until
from tests.faults import FaultProxy, KeepingProxy


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy in front of an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1000):
                writer.write(chunk)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[:2]) as proxy:
        yield proxy
    server.close()


class Caller:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, text: bytes, seconds: float = 30.0) -> bytes | None:
        """Send the text and return the echo, or None when nothing arrived in time."""
        self.writer.write(text)
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1000)
        except TimeoutError:
            return None


Call = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def call(proxy: FaultProxy) -> AsyncIterator[Call]:
    """Connect through the proxy."""
    callers: list[Caller] = []

    async def connect() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.writer.transport.abort()


async def test_passes_bytes(call: Call) -> None:
    """Without a fault it changes nothing."""
    assert await (await call()).send(b"hi") == b"hi"


async def test_latency(proxy: FaultProxy, call: Call) -> None:
    """Bytes arrive later."""
    caller = await call()
    proxy.latency_seconds = 1.0
    assert await caller.send(b"hi", 0.05) is None
    assert await caller.send(b"") == b"hi"


async def test_black_hole(proxy: FaultProxy, call: Call) -> None:
    """Bytes on old and new connections are dropped; healing resets the connections."""
    old = await call()
    assert await old.send(b"hi") == b"hi"
    proxy.blackhole()
    new = await call()
    assert (await old.send(b"hi", 0.2), await new.send(b"hi", 0.2)) == (None, None)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        await old.send(b"hi")


async def test_reset(proxy: FaultProxy, call: Call) -> None:
    """An RST instead of an orderly end."""
    caller = await call()
    assert await caller.send(b"hi") == b"hi"
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        await caller.send(b"hi")


async def test_lost_reply(proxy: FaultProxy, call: Call) -> None:
    """The request arrives, the reply does not."""
    caller = await call()
    assert await caller.send(b"hi") == b"hi"
    proxy.drop_replies()
    with pytest.raises(ConnectionResetError):
        await caller.send(b"hi")


async def test_cut(proxy: FaultProxy, call: Call) -> None:
    """Some bytes, then an RST."""
    caller = await call()
    proxy.cut_after(3)
    caller = await call()
    caller.writer.write(b"hello")
    with pytest.raises(ConnectionResetError):
        while await caller.reader.read(1000):
            pass


async def test_diversion(proxy: FaultProxy, call: Call) -> None:
    """One connection goes to the other target; those after its reply go to the target again."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(1000)).upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server:
        proxy.divert(server.sockets[0].getsockname()[:2])
        assert await (await call()).send(b"hello") == b"HELLO"
        assert await (await call()).send(b"hello") == b"hello"


async def test_refusing(proxy: FaultProxy, call: Call) -> None:
    """No connection is accepted until it heals."""
    proxy.refusing = True
    caller = await call()
    try:
        assert await caller.send(b"hi") == b""
    except ConnectionResetError:
        pass
    proxy.heal()
    assert await (await call()).send(b"hi") == b"hi"


async def test_an_end_is_passed_on_by_itself(call: Call) -> None:
    """A side that has closed its half still receives the rest of the other half."""
    caller = await call()
    caller.writer.write(b"x" * 100_000)
    caller.writer.write_eof()
    assert len(await caller.reader.read()) == 100_000


async def test_keeping_proxy_hides_that_the_server_disconnects() -> None:
    """The client's connection stays open, and its next bytes reach the server of that moment."""
    servers = []
    for name in (b"first ", b"second "):

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: bytes = name
        ) -> None:
            writer.write(name + await reader.read(1000))
            writer.close()

        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
    first, second = (server.sockets[0].getsockname()[:2] for server in servers)
    async with KeepingProxy(first) as proxy:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", proxy.port))
        assert await caller.send(b"hi") == b"first hi"
        await until(lambda: proxy.connected == 0)
        proxy.target = second
        assert await caller.send(b"hi") == b"second hi"
        assert proxy.accepted == 1
    for server in servers:
        server.close()
    caller.writer.transport.abort()
