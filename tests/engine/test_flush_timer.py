"""FlushTimer: the flush delays of many answers end together."""

from __future__ import annotations

import asyncio

import pytest

from hub.engine.worker.flush_timer import FlushTimer
from hub.testing.fakes import FakeClock, settled


class CountingClock(FakeClock):
    """A fake clock that counts its sleepers."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


async def test_delays_that_begin_in_one_tick_end_together_with_one_timer() -> None:
    """Delays that begin at different times of one tick share its end and a single sleep."""
    clock = CountingClock()
    timer = FlushTimer(clock, flush_seconds=5.0)
    waits = []
    for _ in range(3):
        waits.append(asyncio.ensure_future(timer.wait(since=clock.now())))
        await settled()
        await clock.advance(0.25)
    await clock.advance(4.0)
    assert not any(each.done() for each in waits)
    await clock.advance(0.25)
    assert all(each.done() for each in waits)
    assert clock.sleeps == 1


async def test_a_delay_is_at_most_a_tick_shorter_than_the_interval() -> None:
    """A delay ends at the last tick that is not later than its interval."""
    clock = FakeClock()
    await clock.advance(0.75)
    wait = asyncio.ensure_future(FlushTimer(clock, flush_seconds=5.0).wait(since=clock.now()))
    await settled()
    await clock.advance(4.0)
    assert not wait.done()
    await clock.advance(0.25)
    assert wait.done()


@pytest.mark.parametrize("flush_seconds", [0.0, 5.0], ids=["no interval", "late"])
async def test_a_delay_that_is_over_does_not_wait(flush_seconds: float) -> None:
    """Without an interval, or when the publish took longer than it, there is no delay."""
    clock = CountingClock()
    started_at = clock.now()
    await clock.advance(4.9 if flush_seconds else 0.0)
    await clock.advance(0.2)
    await asyncio.wait_for(FlushTimer(clock, flush_seconds).wait(since=started_at), timeout=60)
    assert clock.sleeps == 0


async def test_a_cancelled_delay_ends_no_other_delay() -> None:
    """A stop request cancels the delay of its answer only."""
    clock = FakeClock()
    timer = FlushTimer(clock, flush_seconds=5.0)
    stopped, other = (asyncio.ensure_future(timer.wait(since=clock.now())) for _ in range(2))
    await settled()
    stopped.cancel()
    await settled()
    assert stopped.cancelled()
    assert not other.done()
    await clock.advance(5.0)
    assert other.done()
