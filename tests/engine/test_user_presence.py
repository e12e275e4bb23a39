"""Connected users: one event for all nodes and tabs, and none for a reload of the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from hub.core.deliveries import Done
from hub.core.webhooks import WEBHOOK_QUEUE, Endpoint
from hub.engine.streams.user_presence import UserPresence
from hub.errors import BrokerUnavailable
from hub.testing.backend import MemoryBackend
from hub.webhooks.endpoints import Endpoints
from hub.webhooks.events import WebhookDeliveries
from tests.doubles import FakeClock, settled


class Nodes:
    """Two nodes with one clock and one store. events: what the webhook gets."""

    def __init__(self, *events: str) -> None:
        self.clock = FakeClock()
        self.backend = MemoryBackend(now=self.clock.now)
        self.store = self.backend.user_presence
        self.wanted: bool | None = bool(events)
        endpoint = Endpoint(
            id="w_000000000001", url="https://a.example/", secrets=(), events=events
        )
        self.deliveries = WebhookDeliveries(
            Endpoints(self.backend.webhooks, self.clock, [endpoint]), lambda: 0.0
        )
        self.first, self.second = [
            UserPresence(self.store, self.deliveries, self.clock, lambda: self.wanted)
            for _ in range(2)
        ]
        self.tasks = [asyncio.create_task(each.run()) for each in (self.first, self.second)]

    def kill(self, node: int) -> None:
        self.tasks[node].cancel()

    async def pass_seconds(self, seconds: float) -> list[str]:
        """Let time pass; return what webhooks are told meanwhile."""
        await settled()
        for _ in range(int(seconds * 4)):
            await self.clock.advance(0.25)
            await settled()
        events = []
        while taken := await self.backend.deliveries.take(WEBHOOK_QUEUE, 2000, lease_seconds=60):
            for each in taken:
                body = msgspec.json.decode(each.body)
                events.append(f"{body['data']['user']} {body['type'].removeprefix('user.')}")
                await self.backend.deliveries.complete(each, Done())
        return events


BOTH = ("user.connected", "user.disconnected")


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Two running nodes, and a webhook that gets both events."""
    nodes = Nodes(*BOTH)
    yield nodes
    for task in nodes.tasks:
        task.cancel()


async def test_first_and_last_node(nodes: Nodes) -> None:
    """A user on two nodes is connected once, and disconnected after the grace time once."""
    nodes.first.connected("alice")
    nodes.second.connected("alice")
    assert await nodes.pass_seconds(1) == ["alice connected"]
    nodes.first.disconnected("alice")
    assert await nodes.pass_seconds(60) == []
    nodes.second.disconnected("alice")
    assert await nodes.pass_seconds(9) == []
    assert await nodes.pass_seconds(2) == ["alice disconnected"]


async def test_user_who_returns(nodes: Nodes) -> None:
    """A reload of the page, and a move to the other node, are no events."""
    nodes.first.connected("alice")
    assert await nodes.pass_seconds(1) == ["alice connected"]
    for back in (nodes.first, nodes.first, nodes.second):
        nodes.first.disconnected("alice")
        assert await nodes.pass_seconds(9) == []
        back.connected("alice")
        assert await nodes.pass_seconds(30) == []


async def test_short_visit(nodes: Nodes) -> None:
    """A connection that ends at once gives both events, in their order."""
    nodes.first.connected("alice")
    nodes.first.disconnected("alice")
    assert await nodes.pass_seconds(12) == ["alice connected", "alice disconnected"]


async def test_killed_node(nodes: Nodes) -> None:
    """Its users are disconnected within 40 seconds, unless they have reached the other node."""
    for user in ("alice", "bob"):
        nodes.first.connected(user)
    assert sorted(await nodes.pass_seconds(1)) == ["alice connected", "bob connected"]
    nodes.kill(0)
    await nodes.pass_seconds(15)
    nodes.second.connected("bob")
    assert await nodes.pass_seconds(25) == ["alice disconnected"]
    assert await nodes.pass_seconds(60) == []


async def test_draining_node(nodes: Nodes) -> None:
    """It removes nobody, so that its users have the time to reach another node."""
    nodes.first.connected("alice")
    await nodes.pass_seconds(1)
    nodes.first.drain()
    nodes.first.disconnected("alice")
    assert await nodes.pass_seconds(15) == []
    nodes.kill(0)
    assert await nodes.pass_seconds(40) == ["alice disconnected"]


async def test_entries_that_have_expired(nodes: Nodes) -> None:
    """A node that could not renew its entries for long tells that its users are connected again."""
    nodes.first.connected("alice")
    await nodes.pass_seconds(1)
    nodes.kill(0)
    assert await nodes.pass_seconds(45) == ["alice disconnected"]
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert await nodes.pass_seconds(2) == ["alice connected"]
    assert await nodes.pass_seconds(60) == []


async def test_broker_is_away(nodes: Nodes) -> None:
    """What could not be written is written when the task is started again."""
    update, failed = nodes.store.update, []

    async def refuse(*args: object, **more: object) -> set[int]:
        failed.append(args)
        raise BrokerUnavailable("away")

    nodes.first.connected("alice")
    await nodes.pass_seconds(1)
    nodes.first.disconnected("alice")
    nodes.first.connected("bob")
    nodes.store.update = refuse  # type: ignore[method-assign]
    assert await nodes.pass_seconds(12) == []
    assert failed
    nodes.store.update = update  # type: ignore[method-assign]
    nodes.tasks[0] = asyncio.create_task(nodes.first.run())
    assert sorted(await nodes.pass_seconds(1)) == ["alice disconnected", "bob connected"]


async def test_cost() -> None:
    """Without a webhook nothing is written; with one, a call for many users at once."""
    nodes = Nodes()
    nodes.first.connected("alice")
    assert await nodes.pass_seconds(60) == []
    assert nodes.store.calls == 0
    nodes.wanted = None  # not known yet
    await nodes.pass_seconds(60)
    assert nodes.store.calls == 0
    nodes = Nodes(*BOTH)
    await nodes.pass_seconds(1)
    assert nodes.store.calls == 2  # each node looks for nodes that are gone
    for n in range(100):
        nodes.first.connected(f"user {n}")
    assert len(await nodes.pass_seconds(1)) == 100
    assert nodes.store.calls == 3
    await nodes.pass_seconds(30)
    assert nodes.store.calls == 9  # each node renews its entries every ten seconds


async def test_many_users(nodes: Nodes) -> None:
    """Also more users than one call takes come and go."""
    users = [f"user {n}" for n in range(1200)]
    for user in users:
        nodes.first.connected(user)
    assert len(await nodes.pass_seconds(1)) == len(users)
    calls = nodes.store.calls
    for user in users:
        nodes.first.disconnected(user)
    assert len(await nodes.pass_seconds(10)) == len(users)
    assert nodes.store.calls == calls + 5  # two of them renew entries


async def test_new_webhook() -> None:
    """Users who are connected when it is created have only `user.disconnected`."""
    nodes = Nodes(*BOTH)
    nodes.wanted = False
    nodes.first.connected("alice")
    await nodes.pass_seconds(1)
    nodes.wanted = True
    assert await nodes.pass_seconds(1) == []
    nodes.first.connected("bob")
    assert await nodes.pass_seconds(1) == ["bob connected"]
    nodes.first.disconnected("alice")
    assert await nodes.pass_seconds(12) == ["alice disconnected"]


async def test_webhooks_that_are_not_known_yet() -> None:
    """Users who connect while the node starts are told when the webhooks are known."""
    nodes = Nodes(*BOTH)
    nodes.wanted = None
    nodes.first.connected("alice")
    assert await nodes.pass_seconds(1) == []
    nodes.wanted = True
    assert await nodes.pass_seconds(1) == ["alice connected"]


async def test_one_event_of_the_two() -> None:
    """A webhook gets the events that it names."""
    nodes = Nodes("user.disconnected")
    nodes.first.connected("alice")
    assert await nodes.pass_seconds(1) == []
    nodes.first.disconnected("alice")
    assert await nodes.pass_seconds(12) == ["alice disconnected"]
