"""Guards in memory, and what a guard of an application makes of an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from hub.core.durable import StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.guarded_parts import GuardedParts
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Text, Usage
from hub.core.verdicts import CheckedKind, End, GuardContext, Pass, TextWindow, Verdict
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

    def open(self, context: GuardContext) -> GuardSession:
        """See ports.guards.Guard."""
        return _Session(self, context)

    async def call(self, window: Window) -> Verdict:
        """Call the function."""
        self.windows.append(window)
        verdict = self.function(window)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        return verdict or Pass()


class _Session:
    def __init__(self, guard: InProcessGuard, context: GuardContext) -> None:
        self._guard = guard
        self._context = context

    async def check(self, window: TextWindow) -> Verdict:
        """See ports.guards.GuardSession."""
        try:
            return await self._guard.call(Window.build(self._context, window))
        except Exception as error:
            raise GuardFailed(repr(error)) from error

    def close(self) -> None:
        """See ports.guards.GuardSession."""
        self._guard.closed += 1


_CONTEXT: Final = GuardContext(user="user", generation="g", attempt=1)
_KINDS: Final[Sequence[CheckedKind]] = ("text", "reasoning")


class GuardResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard made of an answer.

    text: the text at the end. shown: the text after each part that was published. parts: these.
    windows: what the guard was called with. end: the verdict that ended the answer, None if none
    did.
    """

    text: str
    shown: list[str]
    parts: list[Part]
    windows: list[Window]
    end: End | None


async def run_guard(
    guard: Callable[[Window], Any],
    deltas: Sequence[str | Part],
    *,
    checks: Sequence[CheckedKind] = _KINDS,
    hold_back_characters: int = 64,
    check_every_characters: int = 1,
    context: GuardContext = _CONTEXT,
) -> GuardResult:
    """Check an answer with a guard, as a worker does whose guard is faster than its LLM.

    guard: a function, with or without `async`. deltas: the texts and other parts of the answer. The
    options are those of the settings. context: for whom the answer is.
    Raise what the guard raises.
    """
    tested = InProcessGuard(guard)
    guarded = GuardedParts(
        checks, hold_back=hold_back_characters, check_every=check_every_characters
    )
    published: list[StreamOutput] = []
    end: End | None = None
    for delta in (*deltas, Finished("stop")):
        guarded.add([Text(delta) if isinstance(delta, str) else delta])
        while (window := guarded.next_window()) is not None:
            verdict = await tested.call(Window.build(context, window))
            end = verdict if isinstance(verdict, End) else end
            guarded.apply(verdict)
        published += guarded.take()[0]
    parts = [part for part in published if isinstance(part, Part)]
    folded, shown = FoldedParts(), []
    for part in parts:
        if not isinstance(part, Usage | Finished):
            folded.apply(*to_event(part))
            shown.append(folded.text)
    return GuardResult(text=folded.text, shown=shown, parts=parts, windows=tested.windows, end=end)
