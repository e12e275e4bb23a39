"""OpenAI's Responses: numbered events while the answer streams, one object at any time.

Source: platform.openai.com, API reference, "Responses" and "Responses: streaming events"; the
types of the package `openai`. An event's `sequence_number` is its chunk's number, so that a client
goes on after the one that it has. Items come in the order in which the answer begins them. Nothing
shown can be taken back, as in openai_chat.py. A stopped answer ends with `response.incomplete`,
whose status is `cancelled`: there is no event of that name.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.event import encode_json
from hub.core.generation import Generation
from hub.surfaces.answer import Answer, Rewritten, Shown, Told, index_of
from hub.surfaces.openai_chat import usage_of
from hub.surfaces.telling import Telling

_STATUS: Final = {"done": "completed", "stopped": "cancelled", "failed": "failed"}
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ROUTINE: Final[dict[str, Any]] = {"logprobs": []}


class Item(msgspec.Struct):
    """One of the output's items, in the order in which they began."""

    kind: str  # reasoning, message, or call
    id: str
    call: int = 0
    call_id: str = ""
    name: str = ""
    pieces: list[str] = []
    status: str = "in_progress"

    @property
    def text(self) -> str:
        """What there is of it, or of a call's arguments."""
        return "".join(self.pieces)

    def document(self) -> dict[str, Any]:
        """As clients read it."""
        if self.kind == "call":
            return {"id": self.id, "type": "function_call", "call_id": self.call_id,
                    "name": self.name, "arguments": self.text, "status": self.status}  # fmt: skip
        content = [self.part()] if self.pieces else []
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content,
                    "status": self.status}  # fmt: skip
        return {"id": self.id, "type": "message", "role": "assistant", "status": self.status,
                "content": content}  # fmt: skip

    def part(self) -> dict[str, Any]:
        """Its one part."""
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}


class ResponseEvents(Telling):
    """Implements ports.Surface."""

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self._number = 0
        self._items: list[Item] = []
        self._shown = Shown()

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
            item.pieces.append(delta)
            yield self._of("response.function_call_arguments.delta", index, delta=delta)

    def replaced(self, text: str) -> Iterator[bytes]:
        self._shown.begin_anew()
        yield from self.said(text)

    def restarted(self) -> Iterator[bytes]:
        if any(item.kind == "call" for item in self._items):
            raise Rewritten
        self._shown.begin_anew()
        yield from ()

    def done(self, told: Told) -> Iterator[bytes]:
        self._shown.end()
        yield from self._close_all("completed")
        incomplete = (told.finish_reason or "stop") in _INCOMPLETE
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
        item = _new_item(self.record, kind, index)
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
        document = _document(self.record, self.answer, output)
        return self._event(kind, response={**document, **fields})

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode_json(data))


_PREFIX: Final = {"reasoning": "rs", "message": "msg", "call": "fc"}


def _new_item(record: Generation, kind: str, index: int) -> Item:
    return Item(kind, f"{_PREFIX[kind]}_{record.id}_{index}")


def response_of(record: Generation, answer: Answer) -> dict[str, Any]:
    """The response as an object, as it stands now."""
    status = "completed" if answer.status == "done" else "incomplete"
    if not answer.status:
        status = "in_progress"
    output: list[dict[str, Any]] = []
    for kind, text in (("reasoning", answer.reasoning), ("message", answer.text)):
        if text:
            item = _new_item(record, kind, len(output))
            item.pieces, item.status = [text], status
            output.append(item.document())
    for call in answer.calls:
        item = _new_item(record, "call", len(output))
        item.call_id, item.name = call.id, call.name
        item.pieces, item.status = [call.arguments], status
        output.append(item.document())
    return _document(record, answer, output)


def _document(record: Generation, answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
    question, end = record.question, answer.end
    reason = _INCOMPLETE.get(end.finish_reason or "") if answer.status == "done" else None
    status = _STATUS.get(answer.status) or ("in_progress" if answer.begun else "queued")
    error = {"code": end.code, "message": end.message} if answer.status == "failed" else None
    params = question.params
    return {
        "id": f"resp_{record.id}",
        "object": "response",
        "created_at": int(record.asked_at),
        "status": "incomplete" if reason else status,
        "background": bool(question.metadata.get("background")),
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": question.metadata.get("instructions"),
        "max_output_tokens": params.get("max_tokens"),
        "metadata": question.metadata.get("metadata") or {},
        "model": question.model,
        "output": output,
        "parallel_tool_calls": params.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "temperature": params.get("temperature"),
        "text": question.metadata.get("text") or {"format": {"type": "text"}},
        "tool_choice": question.metadata.get("tool_choice") or "auto",
        "tools": question.metadata.get("tools") or [],
        "top_p": params.get("top_p"),
        "truncation": "disabled",
        "usage": _usage(end.usage),
    }


def _usage(tokens: Mapping[str, Any] | None) -> dict[str, Any] | None:
    told = usage_of(tokens)
    if told is None:
        return None
    read, thought = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    cached = read.get("cached_tokens") if isinstance(read, dict) else None
    reasoning = thought.get("reasoning_tokens") if isinstance(thought, dict) else None
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached or 0},
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning or 0},
        "total_tokens": told["total_tokens"],
    }
