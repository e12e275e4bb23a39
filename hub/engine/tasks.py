"""Tasks with a name and an owner: supervised long-lived tasks, and short background tasks.

Rules:
1. A supervised task that ends, fails or is cancelled by mistake is logged and restarted after a
   delay, which grows while the task keeps failing.
2. Leaving the block of a `Supervisor` cancels its tasks and waits until all are done.
3. A background task is referenced until it is done, and its failure is logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from hub.errors import DependencyError
from hub.ports.clock import Clock

T = TypeVar("T")
_MIN_RESTART_DELAY_SECONDS: Final = 0.1
_log = structlog.get_logger(__name__)


class SystemClock:
    """Implements ports.Clock."""

    now = staticmethod(time.monotonic)  # the clock of the event loops as well

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Supervisor:
    """Keeps tasks running: `async with Supervisor(clock) as tasks: tasks.start("name", run)`."""

    def __init__(self, clock: Clock, *, max_restart_delay_seconds: float = 5.0) -> None:
        self._clock = clock
        self._max_restart_delay_seconds = max_restart_delay_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by name

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, and run it again whenever it ends, until `end` or the end of the block."""
        self._tasks[name] = asyncio.create_task(self._supervise(name, work), name=name)

    async def end(self, name: str) -> None:
        """Cancel a task and wait until it is done."""
        await cancel_and_wait([self._tasks.pop(name)])

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        delay = _MIN_RESTART_DELAY_SECONDS
        while True:
            started_at = self._clock.now()
            try:
                await work()
                _log.error("task.ended", task=name)
            except asyncio.CancelledError:
                if self._tasks.get(name) is not asyncio.current_task():
                    raise
                _log.error("task.cancelled_by_mistake", task=name)
            except DependencyError as error:
                _log.warning("task.retries", task=name, error=str(error))
            except Exception:  # noqa: BLE001 - any failure is logged and the task is restarted
                _log.exception("task.failed", task=name)
            if self._clock.now() - started_at > self._max_restart_delay_seconds:
                delay = _MIN_RESTART_DELAY_SECONDS
            await self._clock.sleep(delay)
            delay = min(self._max_restart_delay_seconds, delay * 2)

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
    """Cancel the tasks and return when all are done.

    A task that keeps running is cancelled again: asyncio.wait_for of Python 3.11, which libraries
    use, swallows a cancellation that arrives just when its inner await completes.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


async def run_unless(event: asyncio.Event, name: str, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `work`. If the event is set before, cancel it once, wait until it has
    cleaned up, and return None.
    """
    task = asyncio.create_task(work, name=name)
    waiting = asyncio.create_task(event.wait(), name=f"{name}: end")
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.wait([task, waiting])


class BackgroundTasks:
    """Short tasks that run beside their caller."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()  # the event loop holds tasks only weakly

    def __len__(self) -> int:
        """Return the number of running tasks."""
        return len(self._running)

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task, and return it. Its failure is logged."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def finish(
        self, name: str, work: Coroutine[Any, Any, T], on_abandoned: Callable[[T], None]
    ) -> T:
        """Run `work` to its end and return its result, also when the caller is cancelled.

        on_abandoned: called with the result if the caller was cancelled meanwhile.
        """
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(_pass_result, on_abandoned))
            raise

    async def join(self) -> None:
        """Return when no task runs."""
        while self._running:
            await asyncio.wait(self._running)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_task.failed", task=task.get_name(), exc_info=error)


def _pass_result(callback: Callable[[T], None], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        callback(task.result())
