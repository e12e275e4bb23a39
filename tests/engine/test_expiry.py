"""Connections end at their time; a node sends everyone away without haste; caps on connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from hub.core.channel import ALL, user_channel
from hub.core.close_reason import CloseReason
from hub.engine.connections import NO_LIMITS, Connections
from hub.engine.expiry import ConnectionExpiry
from hub.engine.heartbeat import HeartbeatWheel
from hub.testing.backend import MemoryBackend
from hub.transports.sse import SseEventEncoder
from tests.doubles import FakeClock, FakeWriter, new_connection, settled

TRANSPORT = SseEventEncoder(chunked=False)


class Node:
    """A fan-out on a clock that stands."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        backend = MemoryBackend()
        wheel = HeartbeatWheel(self.clock, 8.0)
        self.fanout = Connections(
            backend.events,
            backend.subscriptions,
            wheel,
            self.clock,
            node="n",
            heartbeat_seconds=8.0,
            limits=msgspec.structs.replace(NO_LIMITS, **limits),
        )

    async def connect(
        self, user: str = "alice", lifetime: ConnectionExpiry | None = None
    ) -> FakeWriter:
        sink = FakeWriter()
        connection = new_connection(
            user,
            [user_channel(user), ALL],
            sink,
            self.clock,
            connection_id=f"c{id(sink)}",
            encoder=TRANSPORT,
        )
        self.fanout.attach(connection, {}, lifetime)
        await settled()
        return sink


def said(sink: FakeWriter) -> list[str]:
    """The hub's own words after hub.open."""
    return [
        f"{event.name} {json.loads(event.data)['reason']}"
        for event in sink.events
        if event.name in ("hub.bye", "hub.expiring")
    ]


async def test_notice_and_end() -> None:
    """Told ahead, ended within a second of its time, and not before."""
    node = Node()
    now = node.clock.now()
    lifetime = ConnectionExpiry(until=now + 60.5, reason=CloseReason.EXPIRED, notice_at=now + 30.5)
    sink = await node.connect(lifetime=lifetime)
    keeping = asyncio.create_task(node.fanout.expiry_timer.run())
    await settled()
    await node.clock.advance(30.0)
    assert said(sink) == []
    await node.clock.advance(1.0)
    assert said(sink) == ["hub.expiring expired"]
    await node.clock.advance(29.0)
    assert said(sink) == ["hub.expiring expired"]
    await node.clock.advance(1.0)
    assert said(sink) == ["hub.expiring expired", "hub.bye expired"]
    keeping.cancel()


async def test_who_left_before_is_forgotten() -> None:
    """Nothing is kept of a connection that has ended."""
    node = Node()
    lifetime = ConnectionExpiry(until=node.clock.now() + 3600, reason=CloseReason.TOO_OLD)
    sink = await node.connect(lifetime=lifetime)
    assert sink.owner is not None
    sink.owner.on_disconnect()
    assert node.fanout.expiry_timer._by_second == {}
    assert node.fanout.expiry_timer._second_of == {}
    assert node.fanout._by_user == {}


async def test_newest_wins() -> None:
    """A user's oldest connection makes room; other users' are untouched."""
    node = Node(max_per_user=2)
    sinks = [await node.connect() for _ in range(3)]
    other = await node.connect("bob")
    assert [said(sink) for sink in (*sinks, other)] == [["hub.bye replaced"], [], [], []]
    assert len(node.fanout.by_user("alice")) == 2


async def test_full_node() -> None:
    """Sends the client elsewhere, to come again."""
    node = Node(max_connections=1)
    await node.connect()
    sink = await node.connect("bob")
    assert said(sink) == ["hub.bye full"]
    assert sink.events[0].name == "hub.bye"
    assert json.loads(sink.events[0].data)["reconnect"] is True


async def drained(node: Node, seconds: float, hurry: asyncio.Event) -> list[int]:
    """How many are left after each tenth of a second."""
    task = asyncio.create_task(node.fanout.drain(seconds, hurry))
    left = []
    while not task.done():
        await settled()
        left.append(len(node.fanout))
        await node.clock.advance(0.1)
    await task
    return [*left, len(node.fanout)]


async def test_drain_in_waves() -> None:
    """As many in each tenth of a second; each returns at a time of its own."""
    node = Node()
    sinks = [await node.connect(f"u{n}") for n in range(50)]
    assert await drained(node, 1.0, asyncio.Event()) == [45, 40, 35, 30, 25, 20, 15, 10, 5, 0]
    waits = [json.loads(sink.events[-1].data)["retry_ms"] for sink in sinks]
    assert min(waits) >= 3000
    assert max(waits) <= 3050
    assert len(set(waits)) > 10
    late = await node.connect("late")
    assert said(late) == ["hub.bye draining"]


async def test_drain_in_a_hurry() -> None:
    """All at once."""
    node = Node()
    for n in range(50):
        await node.connect(f"u{n}")
    hurry = asyncio.Event()
    hurry.set()
    assert await drained(node, 10.0, hurry) == [0, 0]


@pytest.mark.parametrize("connections", [0, 1, 7])
async def test_drain_of_few(connections: int) -> None:
    """Nobody is forgotten."""
    node = Node()
    for n in range(connections):
        await node.connect(f"u{n}")
    await drained(node, 0.5, asyncio.Event())
    assert len(node.fanout) == 0


async def test_joins_in_a_second() -> None:
    """So many join at once, the others one after another; nobody is sent away."""
    node = Node(joins_per_second=10.0)
    sinks = [await node.connect(f"u{n}") for n in range(25)]

    def joined() -> int:
        return sum(bool(sink.events) for sink in sinks)

    assert joined() == 10
    await node.clock.advance(0.55)
    assert joined() == 15
    await node.clock.advance(1.0)
    assert joined() == 25
    assert [said(sink) for sink in sinks] == [[]] * 25


async def test_node_that_is_leaving_still_serves() -> None:
    """Until the load balancer has noticed: not ready, but nobody is sent away yet."""
    node = Node()
    first = await node.connect("a")
    node.fanout.mark_unready()
    assert node.fanout.draining
    late = await node.connect("b")
    assert (said(first), said(late)) == ([], [])
    await drained(node, 0.0, asyncio.Event())
    assert said(late) == ["hub.bye draining"]


async def test_notice_that_the_client_does_not_take() -> None:
    """Who was sent away as slow by its notice is forgotten."""
    node = Node()
    now = node.clock.now()
    sink = await node.connect(
        lifetime=ConnectionExpiry(until=now + 60, reason=CloseReason.EXPIRED, notice_at=now + 1)
    )
    (connection,) = node.fanout.connections
    sink.fill()
    while connection.close_reason is None and connection.queued_frames < 10:
        connection.send_event("x", {"n": "y" * 200})
    keeping = asyncio.create_task(node.fanout.expiry_timer.run())
    await settled()
    await node.clock.advance(3.0)
    assert connection.close_reason is CloseReason.SLOW
    assert node.fanout.expiry_timer._second_of == {}
    keeping.cancel()
