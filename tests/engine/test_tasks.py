"""Long-lived tasks: begun again when they end, ended for good when their owner leaves."""

from __future__ import annotations

import asyncio
import gc
import itertools

import pytest
from structlog.testing import capture_logs

from hub.engine.tasks import BackgroundTasks, Supervisor, cancel_and_wait
from hub.errors import BrokerUnavailable
from tests.doubles import FakeClock, settled


@pytest.mark.parametrize(
    "ending", [None, ZeroDivisionError(), BrokerUnavailable("away"), asyncio.CancelledError()]
)
async def test_task_that_ends_is_begun_again(ending: BaseException | None) -> None:
    """However it ends, also by a cancellation that nobody asked for; after a growing pause."""
    clock = FakeClock()
    begun: list[float] = []

    async def work() -> None:
        begun.append(clock.now())
        if ending is not None:
            raise ending

    async with Supervisor(clock) as tasks:
        tasks.start("work", work)
        await settled()
        await clock.advance(1.0)
    assert len(begun) == 4
    pauses = [round(later - sooner, 3) for sooner, later in itertools.pairwise(begun)]
    assert pauses == [0.1, 0.2, 0.4]


async def test_leaving_ends_all() -> None:
    """Nothing runs on, and nothing begins again."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async with Supervisor(FakeClock()) as tasks:
        tasks.start("one", work)
        tasks.start("two", work)
        await settled()
    assert ended == ["work", "work"]


async def test_swallowed_cancellation_is_repeated() -> None:
    """What wait_for of Python 3.11 swallows is asked for again."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait([task])
    assert swallowed == 3


async def test_one_task_is_ended() -> None:
    """The others go on, and it does not begin again."""
    clock = FakeClock()
    running: set[str] = set()

    async def work(name: str) -> None:
        running.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(name)

    async with Supervisor(clock) as tasks:
        tasks.start("a", lambda: work("a"))
        tasks.start("b", lambda: work("b"))
        await settled()
        await tasks.end("a")
        await clock.advance(10.0)
        assert running == {"b"}
    assert not running


async def test_errands_are_held_and_their_failures_logged() -> None:
    """Nobody waits for them, so nobody else would tell."""
    errands, done = BackgroundTasks(), asyncio.Event()

    async def good() -> None:
        gc.collect()
        done.set()

    async def bad() -> None:
        raise RuntimeError("the reason")

    with capture_logs() as said:
        errands.run("good", good())
        errands.run("bad", bad())
        await done.wait()
        await settled()
    assert [(line["event"], line["task"]) for line in said] == [("background_task.failed", "bad")]
    assert str(said[0]["exc_info"]) == "the reason"
