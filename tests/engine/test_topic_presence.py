"""Who follows a topic is told in it: once for all nodes and tabs, ghosts and reloads left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from hub.core.channel import Channel, topic_channel
from hub.core.event import Event
from hub.engine.topic_presence import TopicPresence
from hub.errors import BrokerUnavailable
from hub.testing.backend import MemoryBackend
from hub.testing.stores import MemoryPresenceStore
from tests.doubles import FakeClock, settled

ROOM = topic_channel("room:1")


class Nodes:
    """Two nodes on one clock, one book and one log."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.backend = MemoryBackend()
        self.told: list[str] = []
        book = MemoryPresenceStore(self.clock.now)
        self.first, self.second = (
            TopicPresence(book, self.backend.events, self.clock, ["room:*", "hall"], node=node)
            for node in ("n1", "n2")
        )
        self.tasks = [asyncio.create_task(each.run()) for each in (self.first, self.second)]
        self.backend.subscriptions.listen(self._hear, lambda: None)

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            said = msgspec.json.decode(event.data)
            word = event.name.removeprefix("presence.")
            self.told.append(f"{said['user']} {word} {event.channel} {said['users']}")

    async def pass_seconds(self, seconds: float) -> list[str]:
        """What is told meanwhile."""
        await settled()
        await self.clock.advance(seconds)
        await settled()
        told, self.told = self.told, []
        return told


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Running."""
    nodes = Nodes()
    await nodes.backend.subscriptions.subscribe(
        [ROOM, topic_channel("hall"), topic_channel("street")]
    )
    yield nodes
    for task in nodes.tasks:
        task.cancel()


def follow(*topics: str) -> list[Channel]:
    return [topic_channel(topic) for topic in topics]


async def test_a_user_joins_and_leaves_once(nodes: Nodes) -> None:
    """However many tabs, on however many nodes; only in topics that ask for it."""
    nodes.first.joined("alice", follow("room:1", "hall", "street"))
    nodes.first.joined("alice", follow("room:1"))
    nodes.second.joined("alice", follow("room:1"))
    joined = ["alice joined topic:hall 1", "alice joined topic:room:1 1"]
    assert sorted(await nodes.pass_seconds(1)) == joined
    nodes.second.joined("bob", follow("room:1"))
    assert await nodes.pass_seconds(1) == ["bob joined topic:room:1 2"]
    nodes.first.left("alice", follow("room:1"))
    nodes.first.left("alice", follow("room:1", "hall", "street"))
    assert await nodes.pass_seconds(10) == ["alice left topic:hall 0"]
    nodes.second.left("alice", follow("room:1"))
    assert await nodes.pass_seconds(10) == ["alice left topic:room:1 1"]


async def test_reload_is_no_leaving(nodes: Nodes) -> None:
    """Nor is the time between two polls."""
    for _ in range(5):
        nodes.first.joined("alice", follow("room:1"))
        await nodes.pass_seconds(2)
        nodes.first.left("alice", follow("room:1"))
        assert await nodes.pass_seconds(2) == []
    assert await nodes.pass_seconds(10) == ["alice left topic:room:1 0"]


async def test_who_stays_is_told_once(nodes: Nodes) -> None:
    """Also after hours."""
    nodes.first.joined("alice", follow("hall"))
    assert await nodes.pass_seconds(600) == ["alice joined topic:hall 1"]


async def test_node_that_died_leaves_no_ghosts(nodes: Nodes) -> None:
    """The others tell that its users left, within half a minute."""
    nodes.first.joined("alice", follow("room:1"))
    nodes.second.joined("bob", follow("room:1"))
    assert len(await nodes.pass_seconds(1)) == 2
    nodes.tasks[0].cancel()
    assert await nodes.pass_seconds(30) == ["alice left topic:room:1 1"]


async def test_broker_that_went_away_before_it_was_told(nodes: Nodes) -> None:
    """What the book took down and no log did is told when its task begins again, once."""
    nodes.backend.is_unavailable = True
    nodes.first.joined("alice", follow("room:1"))
    assert await nodes.pass_seconds(1) == []
    assert isinstance(nodes.tasks[0].exception(), BrokerUnavailable)
    nodes.backend.is_unavailable = False
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert await nodes.pass_seconds(20) == ["alice joined topic:room:1 1"]


async def test_node_that_drains_says_nothing(nodes: Nodes) -> None:
    """Its users have as long as those of a node that died to reach another one."""
    nodes.first.joined("alice", follow("room:1"))
    nodes.first.joined("bob", follow("room:1"))
    assert len(await nodes.pass_seconds(1)) == 2
    nodes.first.drain()
    nodes.first.left("alice", follow("room:1"))
    nodes.first.left("bob", follow("room:1"))
    assert await nodes.pass_seconds(10) == []
    nodes.second.joined("alice", follow("room:1"))
    assert await nodes.pass_seconds(20) == ["bob left topic:room:1 1"]


async def test_broker_that_was_away(nodes: Nodes) -> None:
    """What a node could not say, it says when its task begins again."""
    nodes.first.joined("alice", follow("room:1"))
    nodes.tasks[0].cancel()
    await settled()
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert await nodes.pass_seconds(1) == ["alice joined topic:room:1 1"]
