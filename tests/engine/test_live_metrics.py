"""Processes publish their metrics while a console is open, and nothing else."""

from __future__ import annotations

import asyncio

from hub.core.event import Event
from hub.engine.metrics.live_metrics import LIVE_METRICS_CHANNEL, LiveMetrics
from hub.testing.backend import MemoryBackend
from tests.doubles import FakeClock, settled


async def test_metrics_while_a_console_is_open() -> None:
    """Every process publishes about once a second, until a few seconds after the last console
    closed.
    """
    clock, backend = FakeClock(), MemoryBackend()
    received: list[bytes] = []
    backend.subscriptions.listen(lambda events: received.extend(map(data_of, events)), lambda: None)
    await backend.subscriptions.subscribe([LIVE_METRICS_CHANNEL])
    has_viewers = False
    processes = [
        LiveMetrics(
            backend.commands,
            backend.events,
            clock,
            name=name,
            collect=lambda: [1],
            has_viewers=lambda: has_viewers,
        )
        for name in ("n1", "n2")
    ]
    tasks = [asyncio.create_task(each.run()) for each in processes]
    await settled()
    await clock.advance(20)
    assert received == []
    has_viewers = True
    await clock.advance(10)
    assert 16 <= len(received) <= 22
    assert {name for name in ("n1", "n2") if any(name.encode() in data for data in received)} == {
        "n1",
        "n2",
    }
    has_viewers = False
    await clock.advance(12)
    received.clear()
    await clock.advance(20)
    assert received == []
    for task in tasks:
        task.cancel()


def data_of(event: Event) -> bytes:
    return event.data
