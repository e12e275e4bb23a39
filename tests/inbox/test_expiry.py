"""Items that expire while their users are connected."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.inbox import InboxOptions
from hub.engine.publisher import Publisher, PublishRequest
from hub.errors import BrokerUnavailable
from hub.inbox import expiry
from hub.inbox.expiry import ItemExpiry
from hub.ports.inbox import ItemFilter
from hub.testing.backend import MemoryBackend
from hub.testing.fakes import FakeClock, settled
from tests.http.kit import running_hub

DAY = 86_400.0


class Inboxes:
    """A backend in memory with the clock of the test, which notes what is read."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.backend = MemoryBackend(now=self.clock.now)
        self.expiry = ItemExpiry(self, self.clock)  # type: ignore[arg-type]  # only `read` is used
        self.publisher = Publisher(
            self.backend.events, max_data_bytes=1000, on_item=self.expiry.add
        )
        self.read_users: list[str] = []
        self.failures = 0

    async def read(self, user: str, which: ItemFilter) -> Any:
        """Read an inbox; fail as often as `failures` says."""
        self.read_users.append(user)
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("away")
        return await self.backend.inboxes.read(user, which)

    async def publish(self, *to: Channel, expires_seconds: float | None, key: str = "") -> None:
        """Keep an event in inboxes."""
        options = InboxOptions(expires_seconds=expires_seconds, key=key)
        await self.publisher.publish(PublishRequest(to=to, event="e", data=b"1", inbox=options))


async def test_expiry_is_announced_without_a_request() -> None:
    """A connected client gets `inbox.changed` with the counts when an item expires."""
    async with running_hub() as hub, hub.stream("/sse/connect/alice") as stream:
        running = asyncio.create_task(hub.node.item_expiry.run())
        for seconds in (3600, 0.1):
            inbox = {"expires_seconds": seconds}
            status, _ = await hub.publish(to={"user": "alice"}, data=seconds, inbox=inbox)
            assert status == 200
        async with asyncio.timeout(60):
            while (event := await stream.next()).name != "inbox.changed":
                pass
        data = json.loads(event.data)
        assert (data["change"], data["unread"], data["unseen"]) == ("expire", 1, 1)
        running.cancel()


@pytest.mark.parametrize("later", [0.0, 4000.0])
async def test_each_user_is_read_once_when_items_expire(later: float) -> None:
    """Items that expire together cost one read for each user, and others are not read."""
    inboxes = Inboxes()
    running = asyncio.create_task(inboxes.expiry.run())
    await settled()
    alice, bob = user_channel("alice"), user_channel("bob")
    await inboxes.publish(alice, bob, expires_seconds=60)
    await inboxes.publish(alice, expires_seconds=60)
    await inboxes.publish(alice, expires_seconds=5000)
    for seconds in (None, DAY + 1):
        await inboxes.publish(user_channel("carol"), expires_seconds=seconds)
    await inboxes.publish(ALL, topic_channel("news"), expires_seconds=60)
    await inboxes.clock.advance(59)
    assert inboxes.read_users == []
    await inboxes.clock.advance(3 + later)
    assert sorted(inboxes.read_users) == ["alice", "bob"]
    counts = (await inboxes.backend.inboxes.read("alice", ItemFilter(limit=0))).counts
    assert counts.unread == 1
    running.cancel()


async def test_broker_that_is_away_delays_the_announcement() -> None:
    """It is repeated until the broker answers."""
    inboxes = Inboxes()
    running = asyncio.create_task(inboxes.expiry.run())
    await settled()
    inboxes.failures = 3
    await inboxes.publish(user_channel("alice"), expires_seconds=1)
    await inboxes.clock.advance(120)
    assert inboxes.read_users == ["alice"] * 4
    running.cancel()


async def test_broker_that_is_away_is_logged_once_for_all_users() -> None:
    """Whoever has waited for it is announced later; nobody else asks it meanwhile."""
    inboxes = Inboxes()
    running = asyncio.create_task(inboxes.expiry.run())
    await settled()
    users = [f"u{number}" for number in range(100)]
    await inboxes.publish(*map(user_channel, users), expires_seconds=1)
    inboxes.failures = 100
    with structlog.testing.capture_logs() as logs:
        await inboxes.clock.advance(3)
        assert [each["users"] for each in logs] == [100]
        assert len(inboxes.read_users) < 100
        inboxes.failures = 0
        inboxes.read_users.clear()
        await inboxes.clock.advance(10)
    assert sorted(inboxes.read_users) == sorted(users)
    assert len(logs) == 1
    running.cancel()


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, the next use of an inbox announces what has expired."""
    monkeypatch.setattr(expiry, "_MAX_ITEMS", 1000)
    inboxes = Inboxes()
    for number in range(1001):
        inboxes.expiry.add(user_channel(f"u{number}"), InboxOptions(expires_seconds=1))
    running = asyncio.create_task(inboxes.expiry.run())
    await settled()
    await inboxes.clock.advance(1.5)
    async with asyncio.timeout(60):
        while len(inboxes.read_users) < 1000:
            await settled()
    await inboxes.clock.advance(5)
    assert len(inboxes.read_users) == 1000
    running.cancel()
