"""Presence events of a topic: once for all nodes and tabs, without stale entries and reloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from hub.core.channel import CONSOLE_USER, Channel, topic_channel
from hub.core.event import Event
from hub.engine.streams.topic_presence import TopicPresence
from hub.errors import BrokerUnavailable
from hub.testing.backend import MemoryBackend
from hub.testing.stores import MemoryPresenceStore
from tests.doubles import FakeClock, Gate, settled

ROOM = topic_channel("room:1")


class Nodes:
    """Two nodes with one clock, one store and one log."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.backend = MemoryBackend()
        self.published: list[str] = []
        self.store = store = MemoryPresenceStore(self.clock.now)
        self.first, self.second = (
            TopicPresence(store, self.backend.events, self.clock, ["room:*", "hall"], node=node)
            for node in ("n1", "n2")
        )
        self.tasks = [asyncio.create_task(each.run()) for each in (self.first, self.second)]
        self.backend.subscriptions.listen(self._on_events, lambda: None)

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            data = msgspec.json.decode(event.data)
            change = event.name.removeprefix("presence.")
            self.published.append(f"{data['user']} {change} {event.channel} {data['users']}")

    async def pass_seconds(self, seconds: float) -> list[str]:
        """Let time pass; return the events that are published meanwhile."""
        await settled()
        await self.clock.advance(seconds)
        await settled()
        published, self.published = self.published, []
        return published


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Two running nodes."""
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
    """However many tabs and nodes there are; only in topics that have presence."""
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


async def test_a_console_is_no_member(nodes: Nodes) -> None:
    """An operator who follows a topic neither joins nor leaves it."""
    nodes.first.joined(CONSOLE_USER, follow("room:1"))
    nodes.first.left(CONSOLE_USER, follow("room:1"))
    assert await nodes.pass_seconds(10) == []


async def test_reload_is_not_a_leave(nodes: Nodes) -> None:
    """Neither is the time between two polls."""
    for _ in range(5):
        nodes.first.joined("alice", follow("room:1"))
        await nodes.pass_seconds(2)
        nodes.first.left("alice", follow("room:1"))
        assert await nodes.pass_seconds(2) == []
    assert await nodes.pass_seconds(10) == ["alice left topic:room:1 0"]


async def test_user_who_stays_joins_once(nodes: Nodes) -> None:
    """There is no second event, even after hours."""
    nodes.first.joined("alice", follow("hall"))
    assert await nodes.pass_seconds(600) == ["alice joined topic:hall 1"]


async def test_node_that_died_leaves_no_stale_entries(nodes: Nodes) -> None:
    """The other nodes publish that its users left, within half a minute."""
    nodes.first.joined("alice", follow("room:1"))
    nodes.second.joined("bob", follow("room:1"))
    assert len(await nodes.pass_seconds(1)) == 2
    nodes.tasks[0].cancel()
    assert await nodes.pass_seconds(30) == ["alice left topic:room:1 1"]


async def test_broker_that_went_away_before_the_publish(nodes: Nodes) -> None:
    """A change that is stored but not published is published once when the task runs again."""
    nodes.backend.is_unavailable = True
    nodes.first.joined("alice", follow("room:1"))
    assert await nodes.pass_seconds(1) == []
    assert isinstance(nodes.tasks[0].exception(), BrokerUnavailable)
    nodes.backend.is_unavailable = False
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert await nodes.pass_seconds(20) == ["alice joined topic:room:1 1"]


async def test_node_that_drains_publishes_nothing(nodes: Nodes) -> None:
    """Its users have as long to reach another node as those of a node that died."""
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
    """Changes that could not be sent are sent when the task runs again."""
    nodes.first.joined("alice", follow("room:1"))
    nodes.tasks[0].cancel()
    await settled()
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert await nodes.pass_seconds(1) == ["alice joined topic:room:1 1"]


async def test_users_who_left_while_the_broker_was_away(nodes: Nodes) -> None:
    """They leave as soon as it is back, not when their entries expire; one who is back stays."""
    for user in ("alice", "bob"):
        nodes.first.joined(user, follow("room:1", "hall"))
    await nodes.pass_seconds(9)  # shortly after a renewal
    for user in ("alice", "bob"):
        nodes.first.left(user, follow("room:1", "hall"))
    update, away = nodes.store.update, Gate()

    async def refuse(*arguments: Any, **options: Any) -> Any:
        await away.passed()
        raise BrokerUnavailable("away")

    nodes.store.update = refuse  # type: ignore[method-assign]
    away.close()
    await nodes.pass_seconds(5.5)
    assert away.waiting == 1
    nodes.first.joined("bob", follow("room:1", "hall"))
    away.open()
    with pytest.raises(BrokerUnavailable):
        await nodes.tasks[0]
    nodes.store.update = update  # type: ignore[method-assign]
    nodes.tasks.append(asyncio.create_task(nodes.first.run()))
    left = await nodes.pass_seconds(0.5)
    assert sorted(left) == ["alice left topic:hall 1", "alice left topic:room:1 1"]
