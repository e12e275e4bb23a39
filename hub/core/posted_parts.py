"""The parts that an external producer posts, with the numbers that it gives them.

A post may repeat parts whose answer was lost, and it may come after others that were lost. So the
new parts of a post are those after the progress of the attempt, and they follow it without a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from hub.core.durable import AskInput, Save
from hub.core.external_producer import Progress
from hub.core.generation import Status
from hub.core.parts import Part, Reasoning, Text

MAX_EVENT_CHARS: Final = 16 * 1024
"""A longer text becomes several events, so that no reader's buffer overflows."""


class PostedPart(msgspec.Struct, frozen=True):
    """A part and its number.

    part: AskInput for one that asks for an input. checkpoint: JSON that is saved with the part,
    None without one. steering: the number of messages of the user that the producer had taken by
    then.
    """

    seq: int
    part: Part | AskInput
    checkpoint: bytes | None = None
    steering: int = 0

    @property
    def suspends(self) -> bool:
        """Whether the attempt ends with the part, and waits for the value."""
        return isinstance(self.part, AskInput) and self.part.save is not None


class PostedEnd(msgspec.Struct, frozen=True):
    """The end of an answer and its number.

    status: DONE or FAILED. fields: those of this kind of end, without usage.
    """

    seq: int
    status: Status
    fields: dict[str, Any]
    usage: dict[str, Any] | None = None


Posted = PostedPart | PostedEnd


class NewParts(msgspec.Struct, frozen=True):
    """What is new in a post.

    parts: without a gap. end: after them, None if the post has none. expected: the number of the
    part that is missing behind them, None if none is missing.
    """

    parts: Sequence[PostedPart]
    end: PostedEnd | None
    expected: int | None


def select_new(posted: Sequence[Posted], progress: Progress) -> NewParts:
    """Return what a post has after the progress of the attempt, which has not ended.

    So an end that has the number of a published part is no repetition: its producer has counted
    wrong.
    """
    parts: list[PostedPart] = []
    expected = progress.seq + 1
    for each in posted:
        if each.seq < expected and isinstance(each, PostedPart):  # repeated
            continue
        if each.seq != expected:
            return NewParts(parts, None, expected)
        if isinstance(each, PostedEnd):
            return NewParts(parts, each, None)
        parts.append(each)
        expected += 1
    return NewParts(parts, None, None)


class Chunk(NamedTuple):
    """A part or a chunk of its text, the progress after it, and the checkpoint saved with it."""

    part: Part | AskInput
    after: Progress
    checkpoint: Save | None


def split_texts(parts: Sequence[PostedPart], progress: Progress) -> Iterator[Chunk]:
    """Yield the parts, long texts in chunks.

    progress: that before them; a part of the first text may be published already.
    """
    start = progress.chars
    for each in parts:
        part, saved = each.part, None
        if each.checkpoint is not None:
            saved = Save(msgspec.Raw(each.checkpoint), each.steering)
        if not isinstance(part, Text | Reasoning) or len(part.text) <= MAX_EVENT_CHARS:
            yield Chunk(_cut(part, start) if start else part, Progress(each.seq), saved)
        else:
            for first in range(start, len(part.text), MAX_EVENT_CHARS):
                end = first + MAX_EVENT_CHARS
                is_last = end >= len(part.text)
                after = Progress(each.seq) if is_last else Progress(each.seq - 1, end)
                checkpoint = saved if is_last else None
                yield Chunk(type(part)(part.text[first:end]), after, checkpoint)
        start = 0


def _cut(part: Part | AskInput, start: int) -> Part | AskInput:
    return type(part)(part.text[start:]) if isinstance(part, Text | Reasoning) else part
