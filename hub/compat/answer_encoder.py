"""The base of the answer encoders: it turns a generation's events into calls of one method each.

The encoders' folders decide which chunks a dialect sends; engine/generations/compat_stream.py sends
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from hub.compat.answer_state import AnswerState, GenerationEvent, decode_event, to_annotation
from hub.compat.append_only import AlreadySentTextChanged
from hub.core.event import encode_json
from hub.core.generation import Generation
from hub.core.part_events import DELTA, PART, to_events
from hub.error_codes import ANSWER_REWRITTEN, GENERATION_STOPPED

REWRITTEN_CODE: Final = ANSWER_REWRITTEN.name
REWRITTEN: Final = (
    "the answer was generated again and differs from what this stream has already sent and cannot "
    "take back; request the complete answer instead"
)
STOPPED_CODE: Final = GENERATION_STOPPED.name
STOPPED: Final = "the answer was stopped"
DONE_CHUNK: Final = b"data: [DONE]\n\n"
"""The end of a stream in OpenAI's chat completions and in the AI SDK."""


def data_event(value: object) -> bytes:
    """Return a server-sent event that has only `data`: the value as JSON on one line."""
    return b"data: %b\n\n" % encode_json(value)


class AnswerEncoderBase(ABC):
    """Implements ports.AnswerEncoder with one method for each kind of event.

    Each `on_…` method yields the chunks to send. It raises AlreadySentTextChanged if the dialect
    cannot take back text that it has sent; the client then gets an error instead.
    """

    trailer = b""

    def __init__(self, record: Generation) -> None:
        self.record = record
        self.answer = AnswerState(record.id)  # includes the event that is being encoded
        self.is_finished = False
        self.is_broken = False  # see ports.AnswerEncoder; encoders set it in `on_failed`

    def start(self) -> Sequence[bytes]:
        return list(self.on_start())

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        if self.is_finished:
            return ()
        chunks: list[bytes] = []
        try:
            chunks.extend(self._encode(name, data))
        except AlreadySentTextChanged:
            self.is_finished = True
            chunks.extend(self.on_failed(REWRITTEN_CODE, REWRITTEN))
        return chunks

    def abort(self, code: str, message: str) -> bytes:
        self.is_finished = True
        chunks = b"".join(self.on_failed(code, message))
        return chunks if self.is_broken else chunks + self.trailer

    def _encode(self, name: str, data: bytes) -> Iterator[bytes]:
        if name == PART:
            part = msgspec.json.decode(data)
            self.answer.feed_part(part)
            return self._encode_part(part)
        event = decode_event(data)
        self.answer.feed(name, event)
        self.is_finished = bool(self.answer.status)
        return self._encode_event(name, event)

    def _encode_event(self, name: str, event: GenerationEvent) -> Iterator[bytes]:
        match name:
            case "generation.delta":
                yield from self._encode_delta(event)
            case "generation.replaced":
                yield from self.on_replaced(event.text or "")
            case "generation.restarted":
                yield from self.on_restarted()
            case "generation.continued" if self.answer.is_cut:
                yield from self.on_cut(event.snapshot["parts"])
            case "generation.done":
                yield from self.on_done(event)
            case "generation.stopped":
                yield from self.on_stopped()
            case "generation.failed":
                yield from self.on_failed(event.code, event.message)
            case _:
                pass

    def _encode_delta(self, event: GenerationEvent) -> Iterator[bytes]:
        if event.reasoning:
            yield from self.on_reasoning(event.reasoning)
        if event.reasoning_details:
            yield from self.on_reasoning_details(event.reasoning_details)
        if event.text:
            yield from self.on_text(event.text)
        for call in event.tool_calls or ():
            yield from self.on_tool_call(call)
        if event.annotations:
            yield from self.on_annotations(event.annotations)

    def _encode_part(self, part: dict[str, Any]) -> Iterator[bytes]:
        match part["type"]:
            case "tool_result":
                index = self.answer.find_call(part["id"])
                if index is not None:
                    yield from self.on_tool_result(index, part)
            case "source":
                yield from self.on_source(part)
            case "file":
                yield from self.on_file(part)
            case "status":
                yield from self.on_status(part["text"])
            case "step_start" | "step_end" as kind:
                yield from self.on_step(part["name"], is_start=kind == "step_start")
            case "data":
                yield from self.on_data(part)
            case _:
                pass

    def on_start(self) -> Iterator[bytes]:
        """Yield the chunks before the first event."""
        yield from ()

    @abstractmethod
    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        """Encode new reasoning."""

    @abstractmethod
    def on_text(self, text: str) -> Iterator[bytes]:
        """Encode new text."""

    @abstractmethod
    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        """Encode one delta of a tool call, in the normal form of core/tool_calls.py."""

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        """Encode the vendor's form of the reasoning, which it needs back with the next request."""
        yield from ()

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        """Encode sources of the answer, in the form of OpenAI's chat completions."""
        yield from ()

    def on_tool_result(self, index: int, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode the result of a tool call. index: that of the call in `answer.tool_calls`."""
        yield from ()

    def on_source(self, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode a source of the answer."""
        yield from self.on_annotations([to_annotation(part)])

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode a file of the answer."""
        yield from ()

    def on_status(self, text: str) -> Iterator[bytes]:
        """Encode what the producer does at the moment."""
        yield from ()

    def on_step(self, name: str, *, is_start: bool) -> Iterator[bytes]:
        """Encode the start or the end of a step of the producer."""
        yield from ()

    def on_data(self, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode a value of the application's own."""
        yield from ()

    @abstractmethod
    def on_replaced(self, text: str) -> Iterator[bytes]:
        """Encode a new version of the whole text, which may differ from what was sent."""

    @abstractmethod
    def on_restarted(self) -> Iterator[bytes]:
        """Encode that the answer begins again: everything sent so far is void."""

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        """Encode that parts which were sent are void, because the answer continues before them.

        parts: the others, folded. They are encoded again after a restart, unless the dialect can
        keep them.
        """
        self.answer.clear()
        yield from self.on_restarted()
        for name, fields in to_events(parts):
            if name == PART:
                self.answer.feed_part(fields)
                yield from self._encode_part(fields)
            elif name == DELTA:
                event = GenerationEvent(**fields)
                self.answer.feed(name, event)
                yield from self._encode_event(name, event)

    @abstractmethod
    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        """Encode the end of a complete answer."""

    @abstractmethod
    def on_stopped(self) -> Iterator[bytes]:
        """Encode the end of an answer that a stop request ended."""

    @abstractmethod
    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        """Encode a failure: of the generation, or of this stream only."""
