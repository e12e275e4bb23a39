"""A guard in memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hub.core.generation_context import GenerationContext
from hub.core.verdicts import Pass, TextWindow, Verdict
from hub.errors import GuardFailed
from hub.guard import Window
from hub.ports.guards import GuardSession


class InProcessGuard:
    """Implements ports.guards.Guard by a function in the same process.

    `windows` holds what it was called with, `closed` counts the answers that have ended.
    """

    def __init__(self, function: Callable[[Window], Any]) -> None:
        self.function = function
        self.windows: list[Window] = []
        self.closed = 0

    def open(self, context: GenerationContext) -> GuardSession:
        """See ports.guards.Guard."""
        return _Session(self, context)


class _Session:
    def __init__(self, guard: InProcessGuard, context: GenerationContext) -> None:
        self._guard = guard
        self._context = context

    async def check(self, window: TextWindow) -> Verdict:
        """See ports.guards.GuardSession."""
        seen = Window.build(self._context, window)
        self._guard.windows.append(seen)
        try:
            verdict = self._guard.function(seen)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception as error:
            raise GuardFailed(repr(error)) from error
        return verdict or Pass()

    def close(self) -> None:
        """See ports.guards.GuardSession."""
        self._guard.closed += 1
