"""Deltas from upstreams that repeat the whole text so far in each event."""

from __future__ import annotations

from hub.core.parts import Replace, Text


class CumulativeText:
    """Computes the part that leads from one version of a text to the next.

    A version that is a prefix of the current text is a late repetition and is ignored. Characters
    are compared, not bytes.
    """

    def __init__(self) -> None:
        self._text = ""  # the current version

    def update(self, text: str) -> Text | Replace | None:
        """Set the current version and return the difference, None if there is none."""
        previous = self._text
        if previous.startswith(text):
            return None
        self._text = text
        if text.startswith(previous):
            return Text(text[len(previous) :])
        return Replace(text)
