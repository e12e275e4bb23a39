"""Blocks and revocations survive a loss of the broker's data, as long as a node knows them."""

from __future__ import annotations

import asyncio

from hub.core.denylist import TOKEN, USER
from hub.engine.streams.admin_commands import AdminCommands
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tasks import cancel_and_wait
from hub.testing.backend import MemoryBackend
from hub.testing.stores import MemoryCommandBus
from tests.doubles import FakeClock, settled

NOW = 1.7e9


class Node:
    """A node that executes admin commands."""

    def __init__(self, bus: MemoryCommandBus) -> None:
        backend, clock = MemoryBackend(), FakeClock()
        connections = Connections(
            backend.events,
            backend.subscriptions,
            HeartbeatWheel(clock, 8.0),
            clock,
            node="n",
            heartbeat_seconds=8.0,
        )
        self.now = NOW
        self.commands = AdminCommands(bus, connections, wall=lambda: self.now)
        self.task = asyncio.create_task(self.commands.run())

    def blocked(self, subject: str) -> bool:
        return self.commands.denylist.blocked_until(subject, self.now) is not None


async def test_blocks_are_stored_again() -> None:
    """A node stores the blocks that the broker has lost, so that one that starts later knows them;
    a block that is over is not stored.
    """
    now = [NOW]
    bus = MemoryBackend(now=lambda: now[0]).commands
    first = Node(bus)
    await settled()
    await first.commands.disconnect("short", 5.0)
    await first.commands.disconnect("alice", 60.0)
    await first.commands.revoke("jti", NOW + 60.0)
    bus.lose_data()
    now[0] = first.now = NOW + 10.0
    bus.resubscribe()  # the next look, which otherwise comes within ten seconds
    await settled()
    assert (await bus.blocked())[USER + "alice"] == 50.0
    assert USER + "short" not in await bus.blocked()
    second = Node(bus)
    await settled()
    assert [second.blocked(each) for each in (USER + "alice", TOKEN + "jti")] == [True, True]
    assert not second.blocked(USER + "short")
    await cancel_and_wait([first.task, second.task])


async def test_stored_blocks_are_left_alone() -> None:
    """A node stores nothing while the broker has the blocks, so their ends do not move."""
    bus = MemoryBackend(now=lambda: NOW).commands
    node = Node(bus)
    node.now = NOW + 3600.0  # its clock is ahead
    await settled()
    await node.commands.disconnect("alice", 60.0)
    for _ in range(5):
        bus.resubscribe()
        await settled()
    assert await bus.blocked() == {USER + "alice": 60.0}
    await cancel_and_wait([node.task])
