"""List the connections of several nodes, without those of a node that died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.core.channel import ALL, topic_channel, user_channel
from hub.engine.streams.connection_query import ConnectionFilter, ConnectionQuery
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.testing.backend import MemoryBackend
from hub.testing.stores import MemoryCommandBus
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, new_connection, settled


class Nodes:
    """Some nodes on one command bus."""

    def __init__(self) -> None:
        self.bus = MemoryCommandBus(lambda: self.now)
        self.clock = FakeClock()
        self.now = 5000.0
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self.registries: dict[str, Connections] = {}

    async def add(self, name: str) -> ConnectionQuery:
        wheel = HeartbeatWheel(self.clock, 8.0)
        backend = MemoryBackend()
        registry = Connections(
            backend.events,
            backend.subscriptions,
            wheel,
            self.clock,
            node=name,
            heartbeat_seconds=8.0,
        )
        presence = ConnectionQuery(self.bus, registry, self.clock, node=name, wall=lambda: self.now)
        self.registries[name] = registry
        self.tasks[name] = [
            asyncio.create_task(presence.keep_node_state()),
            asyncio.create_task(presence.answer_requests()),
        ]
        await settled()
        return presence

    async def connect(self, node: str, user: str) -> None:
        writer = FakeWriter()
        connection = new_connection(
            user,
            [user_channel(user), ALL, topic_channel("news")],
            writer,
            self.clock,
            connection_id=f"c{id(writer)}",
            encoder=SseEventEncoder(),
            address="10.0.0.9",
        )
        self.registries[node].attach(connection, {})
        await settled()

    def kill(self, name: str) -> None:
        for task in self.tasks.pop(name):
            task.cancel()


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """No node yet."""
    nodes = Nodes()
    yield nodes
    for name in tuple(nodes.tasks):
        nodes.kill(name)


async def test_user_on_several_nodes(nodes: Nodes) -> None:
    """Each connection has its node, its start and its topics."""
    first = await nodes.add("n1")
    await nodes.add("n2")
    await nodes.connect("n1", "alice")
    await nodes.connect("n2", "alice")
    await nodes.connect("n2", "bob")
    page = await first.list(ConnectionFilter(user="alice", limit=10))
    assert sorted(each.node for each in page.connections) == ["n1", "n2"]
    assert (page.total, page.missing) == (2, [])
    one = page.connections[0]
    assert (one.user, one.transport, one.address, one.topics) == (
        "alice",
        "sse",
        "10.0.0.9",
        ["news"],
    )
    assert one.since == 5000.0
    all_users = await first.list(ConnectionFilter(limit=2))
    assert (len(all_users.connections), all_users.total) == (2, 3)
    no_user = await first.list(ConnectionFilter(user="carol", limit=10))
    assert (no_user.connections, no_user.total) == ([], 0)


async def test_nodes(nodes: Nodes) -> None:
    """Each node has its numbers; one that has been silent for long is left out."""
    first = await nodes.add("n1")
    await nodes.add("n2")
    await nodes.connect("n1", "alice")
    await nodes.connect("n1", "alice")
    await nodes.clock.advance(5.0)
    states = await first.nodes()
    assert [(s.node, s.connections, s.users) for s in states] == [("n1", 2, 1), ("n2", 0, 0)]
    nodes.kill("n2")
    nodes.now += 20.0
    await nodes.clock.advance(5.0)
    assert [state.node for state in await first.nodes()] == ["n1"]


async def test_node_that_does_not_answer(nodes: Nodes) -> None:
    """The page names it, and the request does not wait for long."""
    first = await nodes.add("n1")
    await nodes.add("n2")
    await nodes.connect("n1", "alice")
    nodes.kill("n2")
    started_at = asyncio.get_running_loop().time()
    page = await first.list(ConnectionFilter(user="alice", limit=10))
    assert (page.total, page.missing) == (1, ["n2"])
    assert asyncio.get_running_loop().time() - started_at < 2


async def test_pages_and_filters(nodes: Nodes) -> None:
    """Pages follow the ids over all nodes, one connection is found, and so are those that wait."""
    first = await nodes.add("n1")
    await nodes.add("n2")
    for number in range(7):
        await nodes.connect(f"n{number % 2 + 1}", f"user{number}")
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await first.list(ConnectionFilter(limit=3, after=after))
        seen += [each.connection for each in page.connections]
        after = page.next
        assert page.total == 7
    assert seen == sorted(seen)
    assert len(set(seen)) == 7
    one = await first.list(ConnectionFilter(limit=9, connection=seen[4]))
    assert [each.connection for each in one.connections] == [seen[4]]
    assert (await first.list(ConnectionFilter(limit=9, waiting=True))).total == 0
