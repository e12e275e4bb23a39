"""Processes report while somebody looks, and say nothing else."""

from __future__ import annotations

import asyncio

from hub.core.event import Event
from hub.engine.live_metrics import LIVE_METRICS_CHANNEL, LiveMetrics
from hub.testing.backend import MemoryBackend
from tests.doubles import FakeClock, settled


async def test_reports_while_somebody_looks() -> None:
    """Of every process, about once a second, until a little after the last one has looked."""
    clock, backend = FakeClock(), MemoryBackend()
    heard: list[bytes] = []
    backend.subscriptions.listen(lambda events: heard.extend(map(data_of, events)), lambda: None)
    await backend.subscriptions.subscribe([LIVE_METRICS_CHANNEL])
    looking = False
    processes = [
        LiveMetrics(
            backend.commands,
            backend.events,
            clock,
            name=name,
            collect=lambda: [1],
            has_viewers=lambda: looking,
        )
        for name in ("n1", "n2")
    ]
    tasks = [asyncio.create_task(each.run()) for each in processes]
    await settled()
    await clock.advance(20)
    assert heard == []
    looking = True
    await clock.advance(10)
    assert 16 <= len(heard) <= 22
    assert {name for name in ("n1", "n2") if any(name.encode() in said for said in heard)} == {
        "n1",
        "n2",
    }
    looking = False
    await clock.advance(12)
    heard.clear()
    await clock.advance(20)
    assert heard == []
    for task in tasks:
        task.cancel()


def data_of(event: Event) -> bytes:
    return event.data
