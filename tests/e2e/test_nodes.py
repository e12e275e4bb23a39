"""Test three nodes on one Valkey that is paused, killed, restarted or unreachable."""

from __future__ import annotations

import asyncio
import json
import signal
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
    """Read an open event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._decoder = SseDecoder()
        self._ready: list[ServerSentEvent] = []
        self.cursor = ""
        self.heartbeats = 0

    async def next(self, seconds: float = 60.0) -> tuple[str, Any]:
        """Return the name and the data of the next event."""
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

    async def read_for(self, seconds: float) -> list[tuple[str, Any]]:
        """Return all events of the next seconds."""
        events = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    events.append(await self.next(60))
        except TimeoutError:
            return events


class Nodes:
    """Three nodes, each with its own proxy between it and the broker."""

    def __init__(
        self, valkey: Valkey, nodes: Sequence[Node], session: aiohttp.ClientSession
    ) -> None:
        self.valkey = valkey
        self.all = nodes
        self.session = session

    @asynccontextmanager
    async def stream(self, node: Node, user: str, cursor: str = "") -> AsyncIterator[Stream]:
        """Open a stream and read its hub.open."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        async with self.session.get(f"{node.url}/sse/connect/{user}", headers=headers) as response:
            stream = Stream(response)
            assert (await stream.next())[0] == "hub.open"
            yield stream

    async def publish(self, node: Node, user: str, n: int) -> tuple[int, dict[str, str]]:
        """Publish a number; return the status and the headers of the response."""
        body = {"to": {"user": user}, "data": n, "id": f"{user}/{n}"}
        async with self.session.post(f"{node.internal_url}/publish", json=body) as response:
            return response.status, dict(response.headers)

    async def publish_until_accepted(self, node: Node, user: str, n: int) -> None:
        async with asyncio.timeout(60):
            while (await self.publish(node, user, n))[0] != 200:
                await asyncio.sleep(0.05)

    async def ready(self, node: Node) -> int:
        async with self.session.get(f"{node.internal_url}/readyz") as response:
            return response.status


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Start Valkey and three nodes."""
    async with AsyncExitStack() as stack:
        folder = temporary_folder("nodes", stack)
        valkey = Valkey(folder)
        stack.push_async_callback(valkey.kill)
        await valkey.start()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        )
        nodes = []
        for name in ("n1", "n2", "n3"):
            proxy = await stack.enter_async_context(FaultProxy(valkey.socket))
            node = Node(name, proxy, folder / f"{name}.log")
            stack.push_async_callback(node.end, signal.SIGKILL)
            nodes.append(node)
        await asyncio.gather(*(node.start(session) for node in nodes))
        yield Nodes(valkey, nodes, session)


async def test_three_nodes(nodes: Nodes) -> None:
    """Each connection of a user receives each event once, whichever node it is on."""
    first, second, third = nodes.all
    async with (
        nodes.stream(first, "alice") as a,
        nodes.stream(second, "alice") as b,
        nodes.stream(second, "alice") as c,
        nodes.stream(third, "alice") as d,
        nodes.stream(third, "bob") as other,
    ):
        for n in range(30):
            await nodes.publish_until_accepted(nodes.all[n % 3], "alice", n)
        expected = [("notification", n) for n in range(30)]
        for stream in (a, b, c, d):
            assert [await stream.next() for _ in range(30)] == expected
            assert await stream.read_for(0.1) == []
        assert await other.read_for(0.1) == []
        cursors = {stream.cursor for stream in (a, b, c, d)}
        assert len(cursors) == 1


async def test_killed_node(nodes: Nodes) -> None:
    """A client resumes on another node with its cursor, without losses or duplicates."""
    first, second, _ = nodes.all
    async with nodes.stream(first, "alice") as stream:
        await nodes.publish_until_accepted(second, "alice", 0)
        assert await stream.next() == ("notification", 0)
        await first.end(signal.SIGKILL)
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await stream.next()
    for n in (1, 2, 3):
        await nodes.publish_until_accepted(second, "alice", n)
    async with nodes.stream(second, "alice", stream.cursor) as resumed:
        assert [await resumed.next() for _ in range(3)] == [("notification", n) for n in (1, 2, 3)]


@pytest.mark.parametrize("how", ["stalled", "killed"])
async def test_unavailable_broker(nodes: Nodes, how: str) -> None:
    """Connections stay open, publishes and /readyz answer 503; all recover with the broker."""
    first, second, _ = nodes.all
    async with nodes.stream(first, "alice") as stream:
        await nodes.publish_until_accepted(second, "alice", 1)
        assert await stream.next() == ("notification", 1)
        if how == "stalled":
            nodes.valkey.stall(True)
        else:
            await nodes.valkey.kill()
        async with asyncio.timeout(60):  # redis.timeout_seconds is 1.5
            status, headers = await nodes.publish(first, "alice", 2)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert await nodes.ready(second) == 503
        async with asyncio.timeout(60):
            while stream.heartbeats < 2:
                assert await stream.read_for(0.5) == []
        if how == "stalled":
            nodes.valkey.stall(False)
        else:
            await nodes.valkey.start()
        await nodes.publish_until_accepted(second, "alice", 2)
        await nodes.publish_until_accepted(first, "alice", 3)
        assert [await stream.next() for _ in range(2)] == [("notification", n) for n in (2, 3)]
        async with asyncio.timeout(60):
            while {await nodes.ready(node) for node in nodes.all} != {200}:
                await asyncio.sleep(0.05)


async def test_broker_without_data(nodes: Nodes) -> None:
    """Each connection receives one hub.reset per channel, and then new events."""
    first, second, _ = nodes.all
    async with nodes.stream(first, "alice") as a, nodes.stream(second, "alice") as b:
        await nodes.publish_until_accepted(first, "alice", 1)
        for stream in (a, b):
            assert await stream.next() == ("notification", 1)
        await nodes.valkey.kill()
        nodes.valkey.forget()
        await nodes.valkey.start()
        for stream in (a, b):
            resets = [await stream.next() for _ in range(2)]
            assert sorted(resets, key=str) == [
                ("hub.reset", {"channel": "all", "reason": "epoch"}),
                ("hub.reset", {"channel": "user:alice", "reason": "epoch"}),
            ]
        await nodes.publish_until_accepted(second, "alice", 2)
        for stream in (a, b):
            assert await stream.next() == ("notification", 2)
            assert await stream.read_for(0.1) == []


async def test_node_without_a_network(nodes: Nodes) -> None:
    """A node whose packets are dropped delivers the missed events when the network is back."""
    first, second, _ = nodes.all
    async with nodes.stream(first, "alice") as stream:
        first.proxy.blackhole()
        for n in range(5):
            await nodes.publish_until_accepted(second, "alice", n)
        assert await stream.read_for(0.2) == []
        first.proxy.heal()
        assert [await stream.next() for _ in range(5)] == [("notification", n) for n in range(5)]
