"""Connections end at their time; a node drains in waves; limits on connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from hub.core.channel import ALL, CONSOLE_USER, user_channel
from hub.core.close_reason import CloseReason
from hub.engine.streams.connections import MAX_CONSOLE_STREAMS, NO_LIMITS, Connections
from hub.engine.streams.expiry import ConnectionExpiry
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.testing.backend import MemoryBackend
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, new_connection, settled

ENCODER = SseEventEncoder(chunked=False)


class Node:
    """The connections of a node on a fake clock."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        backend = MemoryBackend()
        wheel = HeartbeatWheel(self.clock, 8.0)
        self.registry = Connections(
            backend.events,
            backend.subscriptions,
            wheel,
            self.clock,
            node="n",
            heartbeat_seconds=8.0,
            limits=msgspec.structs.replace(NO_LIMITS, **limits),
        )

    async def connect(
        self, user: str = "alice", expiry: ConnectionExpiry | None = None
    ) -> FakeWriter:
        writer = FakeWriter()
        connection = new_connection(
            user,
            [user_channel(user), ALL],
            writer,
            self.clock,
            connection_id=f"c{id(writer)}",
            encoder=ENCODER,
        )
        self.registry.attach(connection, {}, expiry)
        await settled()
        return writer


def hub_events(writer: FakeWriter) -> list[str]:
    """Return the hub's own events after hub.open, with their reasons."""
    return [
        f"{event.name} {json.loads(event.data)['reason']}"
        for event in writer.events
        if event.name in ("hub.bye", "hub.expiring")
    ]


async def test_notice_and_end() -> None:
    """The notice comes first; the connection ends within a second of its time, and not before."""
    node = Node()
    now = node.clock.now()
    expiry = ConnectionExpiry(until=now + 60.5, reason=CloseReason.EXPIRED, notice_at=now + 30.5)
    writer = await node.connect(expiry=expiry)
    keeping = asyncio.create_task(node.registry.expiry_timer.run())
    await settled()
    await node.clock.advance(30.0)
    assert hub_events(writer) == []
    await node.clock.advance(1.0)
    assert hub_events(writer) == ["hub.expiring expired"]
    await node.clock.advance(29.0)
    assert hub_events(writer) == ["hub.expiring expired"]
    await node.clock.advance(1.0)
    assert hub_events(writer) == ["hub.expiring expired", "hub.bye expired"]
    keeping.cancel()


async def test_ended_connection_is_forgotten() -> None:
    """Nothing is kept of a connection that has ended."""
    node = Node()
    expiry = ConnectionExpiry(until=node.clock.now() + 3600, reason=CloseReason.TOO_OLD)
    writer = await node.connect(expiry=expiry)
    assert writer.owner is not None
    writer.owner.on_disconnect()
    assert node.registry.expiry_timer._by_second == {}
    assert node.registry.expiry_timer._second_of == {}
    assert node.registry._by_user == {}


async def test_newest_wins() -> None:
    """A new connection replaces the user's oldest one, and no other user's."""
    node = Node(max_per_user=2)
    writers = [await node.connect() for _ in range(3)]
    other = await node.connect("bob")
    assert [hub_events(writer) for writer in (*writers, other)] == [
        ["hub.bye replaced"],
        [],
        [],
        [],
    ]
    assert len(node.registry.by_user("alice")) == 2


async def test_full_node() -> None:
    """A full node closes the connection, and the client should reconnect."""
    node = Node(max_connections=1)
    await node.connect()
    writer = await node.connect("bob")
    assert hub_events(writer) == ["hub.bye full"]
    assert writer.events[0].name == "hub.bye"
    assert json.loads(writer.events[0].data)["reconnect"] is True


async def test_the_console_has_places_of_its_own() -> None:
    """Operators look at a full node, and take no place of a user; their places are few."""
    node = Node(max_connections=1, max_per_user=1)
    first = await node.connect()
    consoles = [await node.connect(CONSOLE_USER) for _ in range(MAX_CONSOLE_STREAMS + 1)]
    assert [hub_events(writer) for writer in (first, *consoles[:-1])] == [[]] * (
        MAX_CONSOLE_STREAMS + 1
    )
    assert hub_events(consoles[-1]) == ["hub.bye full"]
    assert hub_events(await node.connect("bob")) == ["hub.bye full"]
    next(iter(node.registry.by_user("alice"))).on_disconnect()
    assert hub_events(await node.connect("bob")) == []


async def drained(node: Node, seconds: float, force: asyncio.Event) -> list[int]:
    """Drain the node; return how many connections are left after each tenth of a second."""
    task = asyncio.create_task(node.registry.drain(seconds, force))
    left = []
    while not task.done():
        await settled()
        left.append(len(node.registry))
        await node.clock.advance(0.1)
    await task
    return [*left, len(node.registry)]


async def test_drain_in_waves() -> None:
    """Each tenth of a second closes as many; each client gets its own time to reconnect."""
    node = Node()
    writers = [await node.connect(f"u{n}") for n in range(50)]
    assert await drained(node, 1.0, asyncio.Event()) == [45, 40, 35, 30, 25, 20, 15, 10, 5, 0]
    waits = [json.loads(writer.events[-1].data)["retry_ms"] for writer in writers]
    assert min(waits) >= 3000
    assert max(waits) <= 3050
    assert len(set(waits)) > 10
    late = await node.connect("late")
    assert hub_events(late) == ["hub.bye draining"]


async def test_forced_drain() -> None:
    """A forced drain closes all connections at once."""
    node = Node()
    for n in range(50):
        await node.connect(f"u{n}")
    force = asyncio.Event()
    force.set()
    assert await drained(node, 10.0, force) == [0, 0]


@pytest.mark.parametrize("connections", [0, 1, 7])
async def test_drain_of_few(connections: int) -> None:
    """Every connection is closed, also when there are fewer than waves."""
    node = Node()
    for n in range(connections):
        await node.connect(f"u{n}")
    await drained(node, 0.5, asyncio.Event())
    assert len(node.registry) == 0


async def test_joins_in_a_second() -> None:
    """That many join at once, the others one after another; none is closed."""
    node = Node(joins_per_second=10.0)
    writers = [await node.connect(f"u{n}") for n in range(25)]

    def joined() -> int:
        return sum(bool(writer.events) for writer in writers)

    assert joined() == 10
    await node.clock.advance(0.55)
    assert joined() == 15
    await node.clock.advance(1.0)
    assert joined() == 25
    assert [hub_events(writer) for writer in writers] == [[]] * 25


async def test_unready_node_still_serves() -> None:
    """Until the load balancer has noticed, the node is not ready, but closes no connection."""
    node = Node()
    first = await node.connect("a")
    node.registry.mark_unready()
    assert node.registry.draining
    late = await node.connect("b")
    assert (hub_events(first), hub_events(late)) == ([], [])
    await drained(node, 0.0, asyncio.Event())
    assert hub_events(late) == ["hub.bye draining"]


async def test_notice_that_the_client_does_not_take() -> None:
    """A connection that its notice closed as slow is forgotten."""
    node = Node()
    now = node.clock.now()
    writer = await node.connect(
        expiry=ConnectionExpiry(until=now + 60, reason=CloseReason.EXPIRED, notice_at=now + 1)
    )
    (connection,) = node.registry.connections
    writer.fill()
    while connection.close_reason is None and connection.queued_frames < 10:
        connection.send_event("x", {"n": "y" * 200})
    keeping = asyncio.create_task(node.registry.expiry_timer.run())
    await settled()
    await node.clock.advance(3.0)
    assert connection.close_reason is CloseReason.SLOW
    assert node.registry.expiry_timer._second_of == {}
    keeping.cancel()
