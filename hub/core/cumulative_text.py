"""Upstreams that repeat the whole text so far, turned into what is new of it."""

from __future__ import annotations

from hub.core.stream_parts import TextDelta, TextReplaced


class CumulativeText:
    """Fed each version of a text, gives the piece that leads from the one before to it.

    A shorter or equal beginning of what was said is a late repeat and says nothing. Characters are
    compared, never bytes.
    """

    def __init__(self) -> None:
        self._text = ""

    def update(self, text: str) -> TextDelta | TextReplaced | None:
        """What is new; None when nothing is."""
        said = self._text
        if said.startswith(text):
            return None
        self._text = text
        return TextDelta(text[len(said) :]) if text.startswith(said) else TextReplaced(text)
