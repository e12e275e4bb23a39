"""The folded parts up to the newest checkpoint of an answer.

The parts of the answer fold into one object, which cannot go back. This module keeps a second one,
to which the events are applied when the next checkpoint is saved. So a checkpoint for each event
costs the same however many parts there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hub.core.folded_parts import FoldedParts
from hub.core.part_events import PartEvent

_MAX_LATER_EVENTS: Final = 256  # with more of them, the next checkpoint copies all parts


class SavedParts:
    """The parts up to a checkpoint. parts: those of the newest one, None if there is none."""

    def __init__(self, parts: Iterable[Mapping[str, Any]] | None = None) -> None:
        self._folded = FoldedParts(parts or ())
        self._later: list[PartEvent] = []  # the events since then
        self._is_followed = False  # whether `_later` has all of them

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts up to the newest checkpoint."""
        return self._folded.parts

    def append(self, event: PartEvent) -> None:
        """Add an event of the answer."""
        if not self._is_followed:
            return
        self._later.append(event)
        if len(self._later) > _MAX_LATER_EVENTS:
            self._is_followed, self._later = False, []

    def save(self, folded: FoldedParts) -> None:
        """Save a checkpoint behind all events so far. folded: what they add up to."""
        if self._is_followed:
            for event in self._later:
                self._folded.apply(*event)
        else:
            self._folded = FoldedParts(folded.parts)
        self._is_followed, self._later = True, []
