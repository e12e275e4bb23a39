"""Text that an agent has taken back: what it sends instead takes its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hub.core.parts import Part, Replace, Text


class RetractedText:
    """Replaces the text of an answer after it was retracted.

    The text that follows is one part with the replacement, so that it stands where the old one was.
    """

    def __init__(self) -> None:
        self._has_text = False
        self._kept: str | None = None  # what remains of a retracted text, until that is replaced

    def retract(self, kept: str = "") -> None:
        """Retract the text so far. kept: the beginning of it that remains."""
        if self._has_text:
            self._kept = kept

    def replace(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the next parts, with the replacement before or in them."""
        for part in parts:
            if self._kept is not None and isinstance(part, Text):
                yield Replace(self._kept + part.text)
                self._kept = None
                continue
            yield from self.flush()
            self._has_text = self._has_text or isinstance(part, Text | Replace)
            yield part

    def flush(self) -> Iterator[Part]:
        """Yield the replacement of a text that nothing follows."""
        if self._kept is not None:
            yield Replace(self._kept)
            self._kept = None
