"""From a generation's events to a surface's chunks: what every surface has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hub.compat.answer_state import (
    AlreadySentTextChanged,
    AnswerState,
    GenerationEvent,
    decode_event,
)
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
        self.is_finished = False

    def start(self) -> Sequence[bytes]:
        return list(self.on_start())

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        if self.is_finished:
            return ()
        told = decode_event(data)
        self.answer.feed(name, told)
        self.is_finished = bool(self.answer.status)
        chunks: list[bytes] = []
        try:
            chunks.extend(self._encode_event(name, told))
        except AlreadySentTextChanged:
            self.is_finished = True
            chunks.extend(self.on_failed(REWRITTEN_CODE, REWRITTEN))
        return chunks

    def abort(self, code: str, message: str) -> bytes:
        self.is_finished = True
        return b"".join(self.on_failed(code, message)) + self.trailer

    def _encode_event(self, name: str, told: GenerationEvent) -> Iterator[bytes]:
        match name:
            case "generation.delta":
                if told.reasoning:
                    yield from self.on_reasoning(told.reasoning)
                if told.text:
                    yield from self.on_text(told.text)
                for call in told.tool_calls or ():
                    yield from self.on_tool_call(call)
            case "generation.replaced":
                yield from self.on_replaced(told.text or "")
            case "generation.restarted":
                yield from self.on_restarted()
            case "generation.done":
                yield from self.on_done(told)
            case "generation.stopped":
                yield from self.on_stopped()
            case "generation.failed":
                yield from self.on_failed(told.code, told.message)
            case _:
                pass

    def on_start(self) -> Iterator[bytes]:
        """Before the first event."""
        yield from ()

    @abstractmethod
    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        """More reasoning."""

    @abstractmethod
    def on_text(self, text: str) -> Iterator[bytes]:
        """More text."""

    @abstractmethod
    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        """A piece of a tool call, in OpenAI's delta form."""

    @abstractmethod
    def on_replaced(self, text: str) -> Iterator[bytes]:
        """All the text so far, which is another."""

    @abstractmethod
    def on_restarted(self) -> Iterator[bytes]:
        """All so far is void."""

    @abstractmethod
    def on_done(self, told: GenerationEvent) -> Iterator[bytes]:
        """The end."""

    @abstractmethod
    def on_stopped(self) -> Iterator[bytes]:
        """The end, by a wish."""

    @abstractmethod
    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        """The end, by a failure, also one of this stream alone."""
