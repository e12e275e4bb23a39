"""Events that repeat what an agent has just sent: those behind the first event of a subscription.

A subscription begins with the whole task. An agent that works at that moment may send its newest
parts once more, as the events that they were. They are recognised by what they say: the first
events are the last parts of the artifact, in the same order. Events carry no numbers, so that a
new part which equals the last one is taken for it. `TaskAnswer` reads the task again at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.upstreams.a2a.objects import TaskPart

_MAX_REPEATED: Final = 64  # parts: those of a moment


class RepeatedParts:
    """Recognises the events of one artifact that repeat its last parts.

    parts: those of the whole artifact. held: the parts of events that may be repetitions; the next
    events decide. is_decided: whether no more events can be repetitions.
    """

    def __init__(self, parts: Sequence[TaskPart]) -> None:
        self._parts = [*parts[-_MAX_REPEATED:]]
        self._next: int | None = None  # where the next repetition would be
        self.held: list[TaskPart] = []
        self.is_decided = not self._parts

    def take(self, parts: Sequence[TaskPart]) -> Sequence[TaskPart]:
        """Return what is new, after an event with these parts."""
        start = self._find(parts)
        self.held += parts
        if start is None:
            return self.release()
        self._next = start + len(parts)
        if self._next == len(self._parts):
            self.held = []
            self.is_decided = True
        return ()

    def release(self) -> Sequence[TaskPart]:
        """Return what was held, which is new, because other events have come."""
        held, self.held, self.is_decided = self.held, [], True
        return held

    def _find(self, parts: Sequence[TaskPart]) -> int | None:
        """Return where these parts are: as far behind as possible, or where they must be."""
        last = len(self._parts) - len(parts)
        starts = range(last, -1, -1) if self._next is None else range(self._next, self._next + 1)
        return next((n for n in starts if self._parts[n : n + len(parts)] == [*parts]), None)
