"""A text that grows at its end, at the same cost however long it is."""

from __future__ import annotations


class GrowingText:
    """A text that only grows, so a part of it never changes. `len` returns its length."""

    __slots__ = ("_chunks", "_length")

    def __init__(self, text: str = "") -> None:
        self._chunks = [text]
        self._length = len(text)

    def __len__(self) -> int:
        return self._length

    def __str__(self) -> str:
        return self.read(0, self._length)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._chunks.append(text)
        self._length += len(text)

    def read(self, start: int, end: int) -> str:
        """Return the characters from start to end. It costs as much as the text is long."""
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return self._chunks[0][start:end]
