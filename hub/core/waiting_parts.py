"""The queue of the parts that wait for a guard: chunks of checked text, and the parts between them.

guarded_parts.py decides what leaves it, and when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from hub.core.durable import ResumePoint, StreamOutput
from hub.core.parts import (
    Annotations,
    Data,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from hub.core.verdicts import CheckedKind

_ITEM_CHARS: Final = 64  # about how much memory a part takes beside its content
_OF_A_TEXT: Final = (Annotations, Source, Reasoning, ReasoningDetails)


class Chunk(msgspec.Struct, eq=False):
    """Checked text that waits. received_at: None for a text of the guard. prefix: None unless it
    takes the place of the whole text; then how much of that has been released.
    """

    kind: CheckedKind
    text: str
    received_at: float | None
    prefix: str | None = None


class WaitingParts:
    """The parts in the order in which they came.

    chars: about how much memory they take, in characters.
    """

    def __init__(self) -> None:
        self._queue: deque[Chunk | StreamOutput] = deque()
        self.chars = 0

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Chunk | StreamOutput]:
        return iter(self._queue)

    @property
    def head(self) -> Chunk | StreamOutput | None:
        """The part that has waited longest."""
        return self._queue[0] if self._queue else None

    @property
    def chunk_count(self) -> int:
        """The number of chunks."""
        return sum(isinstance(item, Chunk) for item in self._queue)

    def append(self, item: Chunk | StreamOutput) -> None:
        """Add a part behind the others."""
        self._queue.append(item)
        self.chars += count_chars(item)

    def prepend(self, *items: Chunk | StreamOutput) -> None:
        """Add parts before the others."""
        self._replace([*items, *self._queue])

    def pop_head(self) -> None:
        """Remove the part that has waited longest."""
        self.chars -= count_chars(self._queue.popleft())

    def cut_head(self, chunk: Chunk, length: int) -> None:
        """Remove so many characters at the beginning of a chunk, which is the head."""
        chunk.text = chunk.text[length:]
        self.chars -= length

    def clear(self) -> None:
        """Remove all parts."""
        self._replace([])

    def find_window(self, kind: CheckedKind) -> tuple[list[Chunk], bool]:
        """Return the chunks of the window at the head, and whether a part behind them closes it."""
        chunks: list[Chunk] = []
        for item in self._queue:
            if isinstance(item, Chunk) and item.kind == kind:
                chunks.append(item)
            elif _closes(item, kind):
                return chunks, True
        return chunks, False

    def rewrite_text(self, new: Chunk) -> None:
        """Let a chunk take the place of the text. It is where the last text that waits is."""
        items = list(self._queue)
        texts = [n for n, item in enumerate(items) if _is_text(item)]
        index = texts[-1] if texts else len(items)
        before = [item for item in items[:index] if not _is_text(item)]
        self._replace([*before, new, *items[index + 1 :]])

    def remove_points(self, chunks: Sequence[Chunk]) -> None:
        """Remove the resume points before the last of these chunks."""
        if not chunks:
            return
        last = next(n for n, item in enumerate(self._queue) if item is chunks[-1])
        self._replace(
            item
            for n, item in enumerate(self._queue)
            if n > last or not isinstance(item, ResumePoint)
        )

    def remove_chunks(self, is_void: Callable[[Chunk], bool]) -> None:
        """Remove the chunks for which this is true. The texts of the others may have changed."""
        self._replace(
            item for item in self._queue if not (isinstance(item, Chunk) and is_void(item))
        )

    def _replace(self, items: Iterable[Chunk | StreamOutput]) -> None:
        self._queue = deque(items)
        self.chars = sum(map(count_chars, self._queue))


def count_chars(item: Chunk | StreamOutput) -> int:
    """Return about how much memory an item takes, in characters."""
    if isinstance(item, Chunk | Text | Reasoning | Replace):
        return _ITEM_CHARS + len(item.text)
    return _ITEM_CHARS + len(msgspec.json.encode(item))


def _is_text(item: Chunk | StreamOutput) -> bool:
    return isinstance(item, Chunk) and item.kind == "text"


def _closes(item: Chunk | StreamOutput, kind: CheckedKind) -> bool:
    """Return whether a window ends before an item of another kind."""
    match item:
        case Chunk():
            return kind == "reasoning"
        case ToolCall(visible=False) | ToolResult(visible=False) | Data(visible=False):
            return False
        case ReasoningDetails() | ResumePoint():
            return False
        case _ if isinstance(item, _OF_A_TEXT):
            return kind == "reasoning"
        case _:
            return True
