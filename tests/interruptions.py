"""Cancels a task at a chosen point: before or after one of the calls that it makes."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any


class CallPoints:
    """Counts the points of tasks: one before each call of a watched object, and one after it, when
    its result is on its way. The task that reaches the point `held` stays there until somebody
    cancels it.

    tasks: the beginning of the names of these tasks; those of other tasks are not counted.
    """

    def __init__(self, held: int, *, tasks: str) -> None:
        self._held = held
        self._tasks = tasks
        self._count = 0
        self.held_at: str | None = None  # the call at which the task stays

    def watch(self, watched: Any) -> Any:
        """Return an object whose calls are those of `watched`, with their points."""
        return _Watched(watched, self)

    async def reach(self, call: str) -> None:
        """Reach the next point."""
        task = asyncio.current_task()
        if task is None or not task.get_name().startswith(self._tasks):
            return
        self._count += 1
        if self._count == self._held:
            self.held_at = call
            await asyncio.Event().wait()


class _Watched:
    def __init__(self, watched: Any, points: CallPoints) -> None:
        self._watched = watched
        self._points = points

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._watched, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            await self._points.reach(f"before {name}")
            result = await method(*arguments, **options)
            await self._points.reach(f"after {name}")
            return result

        return call
