"""The node times a probe event that takes the path of all events."""

from __future__ import annotations

import asyncio

from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.connections import Connections
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.streams.latency_probe import LatencyProbe
from tests.doubles import FakeClock, GatedBackend, settled


async def test_delay_and_round_trip() -> None:
    """One probe each second; while one has not arrived, no other is sent."""
    clock, backend, metrics = FakeClock(), GatedBackend(), NodeMetrics()
    connections = Connections(
        backend.events,
        backend.subscriptions,
        HeartbeatWheel(clock, 8.0),
        clock,
        node="n",
        heartbeat_seconds=8.0,
        metrics=metrics,
    )
    probe_task = asyncio.create_task(
        LatencyProbe(backend.events, backend.subscriptions, connections, clock, metrics).run()
    )
    await settled()
    await clock.advance(3.5)
    assert sum(metrics.delivery_delay.snapshot().buckets) == 4
    assert sum(metrics.round_trip.snapshot().buckets) == 4
    assert len(connections) == 0
    probe_task.cancel()


async def test_announcement_that_was_lost() -> None:
    """After 10 s a lost probe is given up, and the next ones are timed."""
    clock, backend, metrics = FakeClock(), GatedBackend(), NodeMetrics()
    connections = Connections(
        backend.events,
        backend.subscriptions,
        HeartbeatWheel(clock, 8.0),
        clock,
        node="n",
        heartbeat_seconds=8.0,
        metrics=metrics,
    )
    probe_task = asyncio.create_task(
        LatencyProbe(backend.events, backend.subscriptions, connections, clock, metrics).run()
    )
    await settled()
    backend.loses_events = True
    await clock.advance(1.5)
    backend.loses_events = False
    await clock.advance(30)
    assert sum(metrics.delivery_delay.snapshot().buckets) == 22
    probe_task.cancel()


async def test_loop_lag() -> None:
    """An event loop that returns late is measured."""
    clock, metrics = FakeClock(), NodeMetrics()
    watch_task = asyncio.create_task(metrics.measure_loop_lag(clock))
    await settled()
    await clock.advance(1.05)
    assert metrics.loop_lag.snapshot().buckets[0] == 10
    watch_task.cancel()
