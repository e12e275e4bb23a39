"""The proxy does to the network what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.faults import FaultProxy


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of an echo server."""

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

    async def ask(self, text: bytes, seconds: float = 0.2) -> bytes | None:
        """The echo; None when nothing came in time."""
        self.writer.write(text)
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1000)
        except TimeoutError:
            return None


Call = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def call(proxy: FaultProxy) -> AsyncIterator[Call]:
    """Connects through the proxy."""
    callers: list[Caller] = []

    async def connect() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.writer.transport.abort()


async def test_passes_bytes(call: Call) -> None:
    """Without a fault it is not there."""
    assert await (await call()).ask(b"hi") == b"hi"


async def test_latency(proxy: FaultProxy, call: Call) -> None:
    """Bytes come later."""
    caller = await call()
    proxy.latency_seconds = 0.1
    assert await caller.ask(b"hi", 0.05) is None
    assert await caller.ask(b"", 1.0) == b"hi"


async def test_black_hole(proxy: FaultProxy, call: Call) -> None:
    """Bytes vanish on old connections and new ones; healing resets them."""
    old = await call()
    assert await old.ask(b"hi") == b"hi"
    proxy.blackhole()
    new = await call()
    assert (await old.ask(b"hi"), await new.ask(b"hi")) == (None, None)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        await old.ask(b"hi")


async def test_reset(proxy: FaultProxy, call: Call) -> None:
    """An RST, not an orderly end."""
    caller = await call()
    assert await caller.ask(b"hi") == b"hi"
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        await caller.ask(b"hi")


async def test_lost_reply(proxy: FaultProxy, call: Call) -> None:
    """The request arrives, the reply does not."""
    caller = await call()
    assert await caller.ask(b"hi") == b"hi"
    proxy.drop_replies()
    with pytest.raises(ConnectionResetError):
        await caller.ask(b"hi")


async def test_cut(proxy: FaultProxy, call: Call) -> None:
    """Some bytes, then an RST."""
    caller = await call()
    proxy.cut_after(3)
    caller = await call()
    caller.writer.write(b"hello")
    with pytest.raises(ConnectionResetError):
        while await caller.reader.read(1000):
            pass


async def test_refusing(proxy: FaultProxy, call: Call) -> None:
    """Nobody is let in until it heals."""
    proxy.refusing = True
    caller = await call()
    try:
        assert await caller.ask(b"hi") == b""
    except ConnectionResetError:
        pass
    proxy.heal()
    assert await (await call()).ask(b"hi") == b"hi"


async def test_an_end_is_passed_on_by_itself(call: Call) -> None:
    """A side that has said all still hears the other to its end."""
    caller = await call()
    caller.writer.write(b"x" * 100_000)
    caller.writer.write_eof()
    assert len(await caller.reader.read()) == 100_000
