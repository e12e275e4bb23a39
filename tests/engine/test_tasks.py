"""Supervised tasks are restarted until their owner ends them; background tasks are logged."""

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
    "outcome", [None, ZeroDivisionError(), BrokerUnavailable("away"), asyncio.CancelledError()]
)
async def test_task_that_ends_is_restarted(outcome: BaseException | None) -> None:
    """A task is restarted after a growing delay however it ends, also by a stray cancellation."""
    clock = FakeClock()
    starts: list[float] = []

    async def work() -> None:
        starts.append(clock.now())
        if outcome is not None:
            raise outcome

    async with Supervisor(clock) as tasks:
        tasks.start("work", work)
        await settled()
        await clock.advance(1.0)
    assert len(starts) == 4
    pauses = [round(later - sooner, 3) for sooner, later in itertools.pairwise(starts)]
    assert pauses == [0.1, 0.2, 0.4]


async def test_end_of_the_block_cancels_all() -> None:
    """At the end of the block all tasks end, and none is restarted."""
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
    """A task that swallows a cancellation is cancelled again."""
    swallowed_count = 0

    async def stubborn() -> None:
        nonlocal swallowed_count
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed_count += 1
                if swallowed_count == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait([task])
    assert swallowed_count == 3


async def test_one_task_is_ended() -> None:
    """A task that is ended is not restarted, and the others continue."""
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


async def test_background_tasks() -> None:
    """Background tasks are referenced until they are done, and their failures are logged."""
    tasks, done = BackgroundTasks(), asyncio.Event()

    async def good() -> None:
        gc.collect()
        done.set()

    async def bad() -> None:
        raise RuntimeError("the reason")

    with capture_logs() as logs:
        tasks.run("good", good())
        tasks.run("bad", bad())
        await done.wait()
        await settled()
    assert [(line["event"], line["task"]) for line in logs] == [("background_task.failed", "bad")]
    assert str(logs[0]["exc_info"]) == "the reason"
