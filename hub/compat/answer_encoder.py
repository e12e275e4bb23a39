"""From a generation's events to a surface's chunks: what every surface has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hub.compat.answer_state import AlreadySentTextChanged, AnswerState, GenerationEvent, decode
from hub.core.event import encode_json
from hub.core.generation import Generation

REWRITTEN_CODE: Final = "answer_rewritten"
REWRITTEN: Final = (
    "the answer was begun anew and differs from what this stream has shown, which it cannot take "
    "back; ask for the answer as a whole"
)
STOPPED_CODE: Final = "generation_stopped"
STOPPED: Final = "the answer was stopped"


def data_line(value: object) -> bytes:
    """An event with nothing but data: JSON on one line."""
    return b"data: %b\n\n" % encode_json(value)


class AnswerEncoderBase(ABC):
    """Implements ports.Surface over a method for each thing that an answer may say.

    Each gives chunks, and may raise Rewritten when it cannot be said any more.
    """

    trailer = b""

    def __init__(self, record: Generation) -> None:
        self.record = record
        self.answer = AnswerState(record.id)
        self.over = False

    def opening(self) -> Sequence[bytes]:
        return list(self.begun())

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        if self.over:
            return ()
        told = decode(data)
        self.answer.feed(name, told)
        self.over = bool(self.answer.status)
        chunks: list[bytes] = []
        try:
            chunks.extend(self._tell(name, told))
        except AlreadySentTextChanged:
            self.over = True
            chunks.extend(self.failed(REWRITTEN_CODE, REWRITTEN))
        return chunks

    def broken_off(self, code: str, message: str) -> bytes:
        self.over = True
        return b"".join(self.failed(code, message)) + self.trailer

    def _tell(self, name: str, told: GenerationEvent) -> Iterator[bytes]:
        match name:
            case "generation.delta":
                if told.reasoning:
                    yield from self.thought(told.reasoning)
                if told.text:
                    yield from self.said(told.text)
                for call in told.tool_calls or ():
                    yield from self.called(call)
            case "generation.replaced":
                yield from self.replaced(told.text or "")
            case "generation.restarted":
                yield from self.restarted()
            case "generation.done":
                yield from self.done(told)
            case "generation.stopped":
                yield from self.stopped()
            case "generation.failed":
                yield from self.failed(told.code, told.message)
            case _:
                pass

    def begun(self) -> Iterator[bytes]:
        """Before the first event."""
        yield from ()

    @abstractmethod
    def thought(self, reasoning: str) -> Iterator[bytes]:
        """More reasoning."""

    @abstractmethod
    def said(self, text: str) -> Iterator[bytes]:
        """More text."""

    @abstractmethod
    def called(self, call: dict[str, Any]) -> Iterator[bytes]:
        """A piece of a tool call, in OpenAI's delta form."""

    @abstractmethod
    def replaced(self, text: str) -> Iterator[bytes]:
        """All the text so far, which is another."""

    @abstractmethod
    def restarted(self) -> Iterator[bytes]:
        """All so far is void."""

    @abstractmethod
    def done(self, told: GenerationEvent) -> Iterator[bytes]:
        """The end."""

    @abstractmethod
    def stopped(self) -> Iterator[bytes]:
        """The end, by a wish."""

    @abstractmethod
    def failed(self, code: str, message: str) -> Iterator[bytes]:
        """The end, by a failure, also one of this stream alone."""
