"""The node times an event of its own, on the way that all take."""

from __future__ import annotations

import asyncio

from hub.engine.connections import Connections
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.latency_probe import LatencyProbe
from hub.engine.node_metrics import NodeMetrics
from tests.doubles import FakeClock, GatedBackend, settled


async def test_delay_and_round_trip() -> None:
    """One each second; one that does not arrive is waited for, and no other is sent meanwhile."""
    clock, backend, counts = FakeClock(), GatedBackend(), NodeMetrics()
    fanout = Connections(
        backend.events,
        backend.subscriptions,
        HeartbeatWheel(clock, 8.0),
        clock,
        node="n",
        heartbeat_seconds=8.0,
        metrics=counts,
    )
    probing = asyncio.create_task(
        LatencyProbe(backend.events, backend.subscriptions, fanout, clock, counts).run()
    )
    await settled()
    await clock.advance(3.5)
    assert sum(counts.delivery_delay.snapshot().buckets) == 4
    assert sum(counts.round_trip.snapshot().buckets) == 4
    assert len(fanout) == 0
    probing.cancel()


async def test_announcement_that_was_lost() -> None:
    """As on a link that broke: after 10 s it is given up, and the next ones are timed."""
    clock, backend, counts = FakeClock(), GatedBackend(), NodeMetrics()
    fanout = Connections(
        backend.events,
        backend.subscriptions,
        HeartbeatWheel(clock, 8.0),
        clock,
        node="n",
        heartbeat_seconds=8.0,
        metrics=counts,
    )
    probing = asyncio.create_task(
        LatencyProbe(backend.events, backend.subscriptions, fanout, clock, counts).run()
    )
    await settled()
    backend.loses_events = True
    await clock.advance(1.5)
    backend.loses_events = False
    await clock.advance(30)
    assert sum(counts.delivery_delay.snapshot().buckets) == 22
    probing.cancel()


async def test_loop_lag() -> None:
    """A loop that comes back late is seen."""
    clock, counts = FakeClock(), NodeMetrics()
    watching = asyncio.create_task(counts.measure_loop_lag(clock))
    await settled()
    await clock.advance(1.05)
    assert counts.loop_lag.snapshot().buckets[0] == 10
    watching.cancel()
