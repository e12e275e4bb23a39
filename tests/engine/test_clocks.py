"""Nodes whose clocks differ by an hour agree on everything that one of them tells the others."""

from __future__ import annotations

import msgspec
import pytest

from hub.core.denylist import TOKEN, USER
from hub.engine.streams.admin_commands import AdminCommands
from hub.engine.streams.connection_query import ConnectionQuery, NodeState
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.tickets import Tickets
from hub.errors import Unauthorized
from hub.testing.backend import MemoryBackend
from tests.doubles import FakeClock

TIME = 1.7e9
HOUR = 3600.0
skewed = pytest.mark.parametrize("skew", [-HOUR, 0.0, HOUR])


class Nodes:
    """A right node and one whose clock differs, on one backend whose clock is right."""

    def __init__(self, skew: float) -> None:
        self.passed = 0.0
        self.backend = MemoryBackend(now=lambda: TIME + self.passed)
        self.skew = skew

    def right(self) -> float:
        return TIME + self.passed

    def wrong(self) -> float:
        return TIME + self.passed + self.skew

    def connections(self) -> Connections:
        clock = FakeClock()
        return Connections(
            self.backend.events,
            self.backend.subscriptions,
            HeartbeatWheel(clock, 8.0),
            clock,
            node="n",
            heartbeat_seconds=8.0,
        )


@skewed
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
async def test_blocked_user(skew: float, late: bool, reverse: bool) -> None:
    """A block ends on every node when it has lasted, also on one that starts after it."""
    nodes = Nodes(skew)
    walls = [nodes.right, nodes.wrong]
    first, second = reversed(walls) if reverse else walls
    bus = nodes.backend.commands
    sender = AdminCommands(bus, nodes.connections(), wall=first)
    receiver = AdminCommands(bus, nodes.connections(), wall=second)
    bus.is_lossy = late
    await sender.disconnect("alice", 60.0)
    if late:
        blocked = await bus.blocked()
        receiver.denylist.merge({each: second() + blocked[each] for each in blocked}, second())
    nodes.passed = 59.0
    assert receiver.denylist.blocked_until(USER + "alice", second()) is not None
    nodes.passed = 61.0
    assert receiver.denylist.blocked_until(USER + "alice", second()) is None


@skewed
async def test_revoked_token(skew: float) -> None:
    """A token is refused for as long as any node would accept it."""
    nodes = Nodes(skew)
    bus = nodes.backend.commands
    right = AdminCommands(bus, nodes.connections(), wall=nodes.right)
    wrong = AdminCommands(bus, nodes.connections(), wall=nodes.wrong)
    await wrong.revoke("jti", TIME + 60.0)
    nodes.passed = 60.0 + HOUR  # a node that is an hour behind accepts the token until now
    assert right.denylist.blocked_until(TOKEN + "jti", nodes.right()) is not None
    assert wrong.denylist.blocked_until(TOKEN + "jti", nodes.wrong()) is not None
    assert (await bus.blocked())[TOKEN + "jti"] > 0


@skewed
async def test_ticket(skew: float) -> None:
    """A ticket opens a connection on another node, which ends when the token has lasted."""
    nodes = Nodes(skew)
    store, events = nodes.backend.tickets, nodes.backend.events
    issuing = Tickets(store, events, wall=nodes.right)
    redeeming = Tickets(store, events, wall=nodes.wrong)
    ticket_id = await issuing.issue("alice", (), TIME + 600.0, None)
    nodes.passed = 10.0
    ticket = await redeeming.redeem(ticket_id, None)
    assert ticket.expires_at == pytest.approx(nodes.wrong() + 590.0)
    late = await issuing.issue("alice", (), nodes.right() + 5.0, None)
    nodes.passed = 16.0
    with pytest.raises(Unauthorized):
        await redeeming.redeem(late, None)


@skewed
async def test_living_nodes(skew: float) -> None:
    """A node is listed while it lives, whatever its clock says."""
    nodes = Nodes(skew)
    bus = nodes.backend.commands
    right = ConnectionQuery(bus, nodes.connections(), FakeClock(), node="n", wall=nodes.right)
    state = NodeState(
        node="other", since=0.0, seen_at=nodes.wrong(), connections=1, users=1, draining=False
    )
    await bus.put_node_state("other", msgspec.json.encode(state))
    assert [each.node for each in await right.nodes()] == ["other"]
    nodes.passed = 17.0
    assert await right.nodes() == []
