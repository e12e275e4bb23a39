"""OpenAI's Responses: numbered events while the answer streams.

Source: platform.openai.com, API reference, "Responses: streaming events"; the types of the package
`openai`. An event's `sequence_number` is its chunk's number, so that a client
goes on after the one that it has. Items come in the order in which the answer begins them. Nothing
shown can be taken back, as in openai_chat.py. A stopped answer ends with `response.incomplete`,
whose status is `cancelled`: there is no event of that name.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import (
    AlreadySentTextChanged,
    AppendOnlyText,
    GenerationEvent,
    index_of,
)
from hub.compat.openai_responses.response_object import INCOMPLETE, Item, document_of, new_item
from hub.core.event import encode_json
from hub.core.generation import Generation

_ROUTINE: Final[dict[str, Any]] = {"logprobs": []}


class ResponsesEncoder(AnswerEncoderBase):
    """Implements ports.Surface."""

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self._number = 0
        self._items: list[Item] = []
        self._shown = AppendOnlyText()

    def begun(self) -> Iterator[bytes]:
        yield self._whole("response.created")
        yield self._whole("response.in_progress")

    def thought(self, reasoning: str) -> Iterator[bytes]:
        index = yield from self._open("reasoning")
        self._items[index].pieces.append(reasoning)
        yield self._part("response.reasoning_text.delta", index, delta=reasoning)

    def said(self, text: str) -> Iterator[bytes]:
        new = self._shown.add(text)
        if not new:
            return
        index = yield from self._open("message")
        self._items[index].pieces.append(new)
        yield self._part("response.output_text.delta", index, delta=new, **_ROUTINE)

    def called(self, call: dict[str, Any]) -> Iterator[bytes]:
        at = index_of(call)
        if at >= len(self.answer.calls) or not self.answer.calls[at].name:
            return
        index = yield from self._open("call", at)
        item, known = self._items[index], self.answer.calls[at]
        delta = known.arguments[len(item.text) :]
        if delta:
            item.pieces = [known.arguments]  # one piece: its length is asked for at each delta
            yield self._of("response.function_call_arguments.delta", index, delta=delta)

    def replaced(self, text: str) -> Iterator[bytes]:
        self._shown.begin_anew()
        yield from self.said(text)

    def restarted(self) -> Iterator[bytes]:
        if any(item.kind == "call" for item in self._items):
            raise AlreadySentTextChanged
        self._shown.begin_anew()
        yield from ()

    def done(self, told: GenerationEvent) -> Iterator[bytes]:
        self._shown.end()
        yield from self._close_all("completed")
        incomplete = (told.finish_reason or "stop") in INCOMPLETE
        yield self._whole("response.incomplete" if incomplete else "response.completed")

    def stopped(self) -> Iterator[bytes]:
        yield from self._close_all("incomplete")
        yield self._whole("response.incomplete")

    def failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self._close_all("incomplete")
        error = {"code": code, "message": message}
        yield self._whole("response.failed", status="failed", error=error)

    def _open(self, kind: str, call: int = 0) -> Generator[bytes, None, int]:
        """The index of the item that grows; begins it, where it is new."""
        for index, item in enumerate(self._items):
            if (item.kind, item.call, item.status) == (kind, call, "in_progress"):
                return index
        if kind != "call":  # text ends the reasoning, and the other way round
            for index, item in enumerate(self._items):
                if item.kind != "call":
                    yield from self._close(index, "completed")
        index = len(self._items)
        item = new_item(self.record, kind, index)
        if kind == "call":
            known = self.answer.calls[call]
            item.call, item.call_id, item.name = call, known.id, known.name
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=index, item=item.document())
        if kind != "call":
            part = self._items[index].part()
            yield self._part("response.content_part.added", index, part=part)
        return index

    def _close_all(self, status: str) -> Iterator[bytes]:
        for index in range(len(self._items)):
            yield from self._close(index, status)

    def _close(self, index: int, status: str) -> Iterator[bytes]:
        item = self._items[index]
        if item.status != "in_progress":
            return
        item.status = status
        match item.kind:
            case "call":
                kind = "response.function_call_arguments.done"
                yield self._of(kind, index, name=item.name, arguments=item.text)
            case "message":
                yield self._part("response.output_text.done", index, text=item.text, **_ROUTINE)
                yield self._part("response.content_part.done", index, part=item.part())
            case _:
                yield self._part("response.reasoning_text.done", index, text=item.text)
                yield self._part("response.content_part.done", index, part=item.part())
        yield self._event("response.output_item.done", output_index=index, item=item.document())

    def _part(self, kind: str, index: int, **fields: Any) -> bytes:
        return self._of(kind, index, content_index=0, **fields)

    def _of(self, kind: str, index: int, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._items[index].id, output_index=index, **fields)

    def _whole(self, kind: str, **fields: Any) -> bytes:
        output = [item.document() for item in self._items]
        document = document_of(self.record, self.answer, output)
        return self._event(kind, response={**document, **fields})

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode_json(data))
