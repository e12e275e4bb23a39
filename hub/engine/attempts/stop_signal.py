"""A stop request on its way to the relay of a generation, within one worker."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class StopRequested(Exception):
    """A user requested that the generation stops."""


class StopSignal:
    """Interrupts the relay of one generation, at the places that allow it.

    `with signal:` around an await makes it interruptible: a stop request cancels the await and the
    block raises StopRequested. A request made earlier raises it at the start of the block. All
    blocks of a signal belong to one task.
    """

    def __init__(self) -> None:
        self.by: str | None = None  # the user who requested the stop
        self._task: asyncio.Task[Any] | None = None  # the task of the blocks, from the first one on
        self._is_inside = False  # whether the task is inside a block
        self._cancelled = False  # whether this signal cancelled the task

    def set(self, by: str) -> None:
        """Request a stop. Only the first request counts."""
        if self.by is not None:
            return
        self.by = by
        if self._is_inside and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def __enter__(self) -> None:
        if self.by is not None:
            raise StopRequested
        if self._task is None:
            self._task = asyncio.current_task()
        self._is_inside = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_inside = False
        if self._cancelled and self._task is not None:
            self._cancelled = False
            if self._task.uncancel() == 0:  # otherwise the worker cancelled the task as well
                raise StopRequested from None
