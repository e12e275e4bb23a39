"""Several `hub serve` processes on one Valkey that is stopped, killed, restarted, and cut off."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from tests.conftest import temporary_folder
from tests.faults import FaultProxy
from tests.processes import Node, Valkey


class Stream:
    """An open event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._decoder = SseDecoder()
        self._ready: list[ServerSentEvent] = []
        self.cursor = ""
        self.heartbeats = 0

    async def next(self, seconds: float = 30.0) -> tuple[str, Any]:
        """The next event: name and data."""
        async with asyncio.timeout(seconds):
            while not self._ready:
                chunk = await self._response.content.readany()
                if not chunk:
                    raise EOFError
                self.heartbeats += chunk.count(b": hb")
                self._ready += self._decoder.feed(chunk)
        event = self._ready.pop(0)
        self.cursor = event.id or self.cursor
        return event.name, json.loads(event.data)

    async def rest(self, seconds: float) -> list[tuple[str, Any]]:
        """What comes in this time."""
        found = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found.append(await self.next(60))
        except TimeoutError:
            return found


class Setup:
    """Three nodes, each behind its own way to the broker."""

    def __init__(
        self, valkey: Valkey, nodes: Sequence[Node], session: aiohttp.ClientSession
    ) -> None:
        self.valkey = valkey
        self.nodes = nodes
        self.session = session

    @asynccontextmanager
    async def stream(self, node: Node, user: str, cursor: str = "") -> AsyncIterator[Stream]:
        """A stream past its hub.open."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        async with self.session.get(f"{node.url}/sse/connect/{user}", headers=headers) as response:
            stream = Stream(response)
            assert (await stream.next())[0] == "hub.open"
            yield stream

    async def publish(self, node: Node, user: str, n: int) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        body = {"to": {"user": user}, "data": n, "id": f"{user}/{n}"}
        async with self.session.post(f"{node.internal_url}/publish", json=body) as response:
            return response.status, dict(response.headers)

    async def publish_until_taken(self, node: Node, user: str, n: int) -> None:
        async with asyncio.timeout(30):
            while (await self.publish(node, user, n))[0] != 200:
                await asyncio.sleep(0.05)

    async def ready(self, node: Node) -> int:
        async with self.session.get(f"{node.internal_url}/readyz") as response:
            return response.status


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    """Three nodes that are ready."""
    async with AsyncExitStack() as parts:
        folder = temporary_folder("nodes", parts)
        valkey = Valkey(folder)
        parts.push_async_callback(valkey.kill)
        await valkey.start()
        session = await parts.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        )
        nodes = []
        for name in ("n1", "n2", "n3"):
            proxy = await parts.enter_async_context(FaultProxy(valkey.socket))
            node = Node(name, proxy, folder / f"{name}.log")
            parts.push_async_callback(node.end, signal.SIGKILL)
            nodes.append(node)
        await asyncio.gather(*(node.start(session) for node in nodes))
        yield Setup(valkey, nodes, session)


async def test_three_nodes(setup: Setup) -> None:
    """A user with connections on three nodes gets each event once per connection."""
    first, second, third = setup.nodes
    async with (
        setup.stream(first, "alice") as a,
        setup.stream(second, "alice") as b,
        setup.stream(second, "alice") as c,
        setup.stream(third, "alice") as d,
        setup.stream(third, "bob") as other,
    ):
        for n in range(30):
            assert (await setup.publish(setup.nodes[n % 3], "alice", n))[0] == 200
        expected = [("notification", n) for n in range(30)]
        for stream in (a, b, c, d):
            assert [await stream.next() for _ in range(30)] == expected
            assert await stream.rest(0.1) == []
        assert await other.rest(0.1) == []
        cursors = {stream.cursor for stream in (a, b, c, d)}
        assert len(cursors) == 1


async def test_node_that_is_killed(setup: Setup) -> None:
    """Its clients go on at another node, from their cursor: nothing lost, nothing twice."""
    first, second, _ = setup.nodes
    async with setup.stream(first, "alice") as stream:
        await setup.publish(second, "alice", 0)
        assert await stream.next() == ("notification", 0)
        await first.end(signal.SIGKILL)
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await stream.next()
    for n in (1, 2, 3):
        await setup.publish(second, "alice", n)
    async with setup.stream(second, "alice", stream.cursor) as back:
        assert [await back.next() for _ in range(3)] == [("notification", n) for n in (1, 2, 3)]


@pytest.mark.parametrize("how", ["stalled", "killed"])
async def test_broker_that_is_away(setup: Setup, how: str) -> None:
    """Connections stay open with heartbeats, publishes are refused in time, /readyz says so; when
    it is back, everything goes on by itself.
    """
    first, second, _ = setup.nodes
    async with setup.stream(first, "alice") as stream:
        await setup.publish(second, "alice", 1)
        assert await stream.next() == ("notification", 1)
        if how == "stalled":
            setup.valkey.stall(True)
        else:
            await setup.valkey.kill()
        begun = time.monotonic()
        status, headers = await setup.publish(first, "alice", 2)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert time.monotonic() - begun < 2.0
        assert await setup.ready(second) == 503
        async with asyncio.timeout(30):
            while stream.heartbeats < 2:
                assert await stream.rest(0.5) == []
        if how == "stalled":
            setup.valkey.stall(False)
        else:
            await setup.valkey.start()
        await setup.publish_until_taken(second, "alice", 2)
        await setup.publish_until_taken(first, "alice", 3)
        assert [await stream.next() for _ in range(2)] == [("notification", n) for n in (2, 3)]
        async with asyncio.timeout(30):
            while {await setup.ready(node) for node in setup.nodes} != {200}:
                await asyncio.sleep(0.05)


async def test_broker_that_returns_empty(setup: Setup) -> None:
    """One hub.reset for each connection and channel that had a position, then it goes on."""
    first, second, _ = setup.nodes
    async with setup.stream(first, "alice") as a, setup.stream(second, "alice") as b:
        await setup.publish(first, "alice", 1)
        for stream in (a, b):
            assert await stream.next() == ("notification", 1)
        await setup.valkey.kill()
        setup.valkey.forget()
        await setup.valkey.start()
        for stream in (a, b):
            told = [await stream.next() for _ in range(2)]
            assert sorted(told, key=str) == [
                ("hub.reset", {"channel": "all", "reason": "epoch"}),
                ("hub.reset", {"channel": "user:alice", "reason": "epoch"}),
            ]
        await setup.publish_until_taken(second, "alice", 2)
        for stream in (a, b):
            assert await stream.next() == ("notification", 2)
            assert await stream.rest(0.1) == []


async def test_node_that_is_cut_off(setup: Setup) -> None:
    """A node whose packets vanish misses events; it hands them over when it is back."""
    first, second, _ = setup.nodes
    async with setup.stream(first, "alice") as stream:
        first.proxy.blackhole()
        for n in range(5):
            assert (await setup.publish(second, "alice", n))[0] == 200
        assert await stream.rest(0.2) == []
        first.proxy.heal()
        assert [await stream.next() for _ in range(5)] == [("notification", n) for n in range(5)]
