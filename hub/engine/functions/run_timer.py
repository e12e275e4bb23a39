"""The running time of a function, which stands still while the function waits for input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RunTimer:
    """Limits the running time. seconds: None means any time."""

    def __init__(self, seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = None if seconds is None else self._loop.time() + seconds
        self._timeout: asyncio.Timeout | None = None  # while `limit` is entered
        self._pauses = 0
        self._paused_at = 0.0

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raise TimeoutError in the block when the time is over."""
        when = None if self._pauses else self._deadline
        try:
            async with asyncio.timeout_at(when) as self._timeout:
                yield
        finally:
            self._timeout = None

    def pause(self) -> None:
        """Stop the time until `resume`. Calls nest."""
        if not self._pauses:
            self._paused_at = self._loop.time()
            self._reschedule(None)
        self._pauses += 1

    def resume(self) -> None:
        """Let the time go on."""
        self._pauses -= 1
        if not self._pauses and self._deadline is not None:
            self._deadline += self._loop.time() - self._paused_at
            self._reschedule(self._deadline)

    def _reschedule(self, when: float | None) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)
