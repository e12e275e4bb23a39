"""Long-lived tasks: each has a name and an owner, and none ends unnoticed.

A task that ends by an error is logged and begun again after a pause; the pause grows while it
keeps failing. Leaving the block cancels all of them and waits until they are done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from hub.errors import DependencyError
from hub.ports.clock import Clock

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class SystemClock:
    """Implements ports.Clock."""

    now = staticmethod(time.monotonic)  # what the event loops count in, too

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Supervisor:
    """`async with Supervisor(clock) as tasks: tasks.start("bus", broker.run)`."""

    def __init__(self, clock: Clock, *, max_restart_delay_seconds: float = 5.0) -> None:
        self._clock = clock
        self._most_pause_seconds = max_restart_delay_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Keeps `work` running under this name until it is ended or the block is left."""
        self._tasks[name] = asyncio.create_task(self._keep(name, work), name=name)

    async def end(self, name: str) -> None:
        """Ends it; returns when it is done."""
        await cancel_and_wait([self._tasks.pop(name)])

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while True:
            begun = self._clock.now()
            try:
                await work()
                _log.error("task.ended", task=name)
            except asyncio.CancelledError:
                if self._tasks.get(name) is not asyncio.current_task():
                    raise
                _log.error("task.cancelled_by_nobody", task=name)
            except DependencyError as error:
                _log.warning("task.waits", task=name, error=str(error))
            except Exception:  # noqa: BLE001 - whatever it is, it is logged and the task goes on
                _log.exception("task.failed", task=name)
            if self._clock.now() - begun > self._most_pause_seconds:
                pause = 0.1
            await self._clock.sleep(pause)
            pause = min(self._most_pause_seconds, pause * 2)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        await cancel_and_wait(reversed(tasks))


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks and returns when all are done.

    It cancels again what goes on: asyncio.wait_for of Python 3.11, which libraries use, swallows a
    cancellation that comes just when what it waits for is done.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


class BackgroundTasks:
    """Short tasks that nobody waits for: held until they are done, a failure is logged."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._running)

    def run(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Begins it."""
        task = asyncio.create_task(errand, name=name)
        self._running.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._done)

    async def finish(
        self, name: str, work: Coroutine[Any, Any, T], abandoned: Callable[[T], None]
    ) -> T:
        """What `work` returns. Cancelled meanwhile, it is done to its end all the same, and
        `abandoned` is told what it returned.
        """
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(_tell_result, abandoned))
            raise

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("errand.failed", errand=task.get_name(), exc_info=error)


def _tell_result(told: Callable[[T], None], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        told(task.result())
