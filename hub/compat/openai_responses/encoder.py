"""OpenAI's Responses: numbered events while the answer streams.

Source: platform.openai.com, API reference, "Responses: streaming events", and the types of the
package `openai`. The `sequence_number` of an event is the number of its chunk, so that a client can
resume after the last one that it has. Output items appear in the order in which the answer begins
them, one after another. Sent text cannot be taken back, as in chat completions. A stopped answer
ends with `response.incomplete` and the status `cancelled`, because no event `response.cancelled`
exists. A failed answer ends with the events `error`, which each tried client raises, and
`response.failed`, which some of them ignore. `error` has its fields as the reference names them,
and as the object `error`, which OpenAI's server sends and which its Python SDK looks for.

Reasoning is a summary for a client that asked for one (`reasoning.summary`), because the AI SDK and
Codex CLI then show nothing else, and `reasoning_text` otherwise.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import GenerationEvent, call_index, kept_item
from hub.compat.answer_state import to_annotation as chat_annotation
from hub.compat.append_only import AlreadySentTextChanged, SentParts
from hub.compat.call_queue import CallQueue
from hub.compat.failures import Failure, describe_stream_failure
from hub.compat.openai_responses.response_object import (
    INCOMPLETE_REASONS,
    OutputItem,
    build_document,
    new_call,
    new_image,
    new_item,
    new_kept,
    new_result,
    to_annotation,
)
from hub.core.event import encode_json
from hub.core.generation import Generation
from hub.core.response_items import EVENT_DATA, MESSAGE_DATA

_NUMBERS: Final = {"type", "sequence_number", "item_id", "output_index"}
_NO_LOGPROBS: Final[dict[str, Any]] = {"logprobs": []}


class ResponsesEncoder(AnswerEncoderBase):
    """Implements ports.AnswerEncoder."""

    def __init__(self, record: Generation) -> None:
        super().__init__(record)
        self._sequence_number = 0  # of the next event
        self._items: list[OutputItem] = []
        self._kept: dict[str, int] = {}  # indexes of the items that pass through, by their ids
        self._calls = CallQueue()
        self._phase: str | None = None  # of the next message
        self._sent = SentParts()

    def on_start(self) -> Iterator[bytes]:
        is_queued = bool(self.record.request.metadata.get("background"))
        yield self._response_event(
            "response.created", status="queued" if is_queued else "in_progress"
        )
        yield self._response_event("response.in_progress", status="in_progress")

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        version = self._sent.reasoning.version
        reasoning = self._sent.reasoning.add(reasoning)
        if not reasoning:
            return
        if self._sent.reasoning.version != version:  # another version is an item of its own
            yield from self._close_texts()
        index = yield from self._open("reasoning")
        item = self._items[index]
        if item.is_summary and not item.parts:
            yield self._summary_event(
                "response.reasoning_summary_part.added", index, part=item.part()
            )
        item.parts.append(reasoning)
        if item.is_summary:
            kind = "response.reasoning_summary_text.delta"
            yield self._summary_event(kind, index, delta=reasoning)
        else:
            yield self._content_event("response.reasoning_text.delta", index, delta=reasoning)

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        if new := self._sent.reasoning_details.add(details):
            yield from self._open("reasoning", details=new)

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        if new := self._sent.annotations.add(annotations):
            yield from self._annotate(new)

    def _annotate(self, annotations: Sequence[dict[str, Any]]) -> Iterator[bytes]:
        index = yield from self._open("message")
        item = self._items[index]
        for each in annotations:
            annotation = to_annotation(each)
            fields = {"annotation_index": len(item.annotations), "annotation": annotation}
            item.annotations = [*item.annotations, annotation]
            yield self._content_event("response.output_text.annotation.added", index, **fields)

    def on_text(self, text: str) -> Iterator[bytes]:
        new = self._sent.text.add(text)
        if not new:
            return
        index = yield from self._open("message")
        self._items[index].parts.append(new)
        yield self._content_event("response.output_text.delta", index, delta=new, **_NO_LOGPROBS)

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        number = call_index(call)
        if number >= len(self.answer.tool_calls) or not self.answer.tool_calls[number].name:
            return  # the name comes with a later delta
        self._calls.add(number)
        while (current := self._calls.current) is not None:
            yield from self._send_call(current)
            if not (self._calls.has_waiting and self._calls.has_arguments(self.answer.tool_calls)):
                return
            yield from self._finish_call()

    def on_tool_result(self, index: int, part: dict[str, Any]) -> Iterator[bytes]:
        while index in self._calls:
            yield from self._finish_call()
        yield from self._add(
            new_result(self.record, self.answer.tool_calls[index], len(self._items))
        )

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode an image with its content as an item, and a file with a URL as an annotation."""
        image = new_image(self.record, part, len(self._items))
        if image is not None:
            if self._sent.is_new_image(part):
                yield from self._add(image)
        elif "url" in part and self._sent.is_new_cited_file(part):
            source = {"url": part["url"], "title": part.get("name", "")}
            yield from self._annotate([chat_annotation(source)])

    def on_data(self, part: dict[str, Any]) -> Iterator[bytes]:
        """Encode an event of an item that passes through, or the beginning of a message
        (core/response_items.py).
        """
        event, item = part["value"], kept_item(part)
        if part["name"] == MESSAGE_DATA and isinstance(event, dict):
            if self._sent.messages.add([event]):
                yield from self._close_texts()
                phase = event.get("phase")
                self._phase = phase if isinstance(phase, str) else None
            return
        if part["name"] != EVENT_DATA or not isinstance(event, dict):
            return
        index = self._kept.get(key := str(part.get("id")))
        if index is None and item is not None:
            yield from self._close_texts()
            index = self._kept[key] = len(self._items)
            self._items.append(new_kept(self.record, item, index))
            document = self._items[index].document()
            yield self._event("response.output_item.added", output_index=index, item=document)
        if index is None:
            return
        match event.get("type"):
            case "response.output_item.done" if item is not None:
                self._items[index].kept = item
                yield from self._close(index, "completed")
            case str(kind) if item is None:
                fields = {name: event[name] for name in event.keys() - _NUMBERS}
                yield self._item_event(kind, index, **fields)
            case _:
                pass

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._sent.text.restart()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        if any(item.kind in ("call", "kept") for item in self._items):
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        if any(item.kind in ("call", "kept") for item in self._items) and self.answer.are_calls_cut:
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        self._sent.end()
        while self._calls.current is not None:
            yield from self._finish_call()
        yield from self.close_all("completed")
        incomplete = (event.finish_reason or "stop") in INCOMPLETE_REASONS
        yield self._response_event("response.incomplete" if incomplete else "response.completed")

    def on_stopped(self) -> Iterator[bytes]:
        yield from self.close_all("incomplete")
        yield self._response_event("response.incomplete")

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self.close_all("incomplete")
        failure = describe_stream_failure(self.answer, code, message)
        fields = {"code": failure.code, "message": failure.message, "param": failure.param}
        yield self._event("error", **fields, **failure.document())
        yield self.failed_event(failure)

    def failed_event(self, failure: Failure) -> bytes:
        """Return the event that ends a failed response."""
        error = {"code": failure.code, "message": failure.message}
        return self._response_event("response.failed", status="failed", error=error)

    def output(self) -> list[dict[str, Any]]:
        """Return the output items so far."""
        return [item.document() for item in self._items]

    def _open(
        self, kind: str, call: int = 0, details: Sequence[dict[str, Any]] = ()
    ) -> Generator[bytes, None, int]:
        """Return the index of the output item to append to, and begin the item if it is new. The
        items before it end, but for a call whose arguments are not complete.

        kind: see OutputItem. call: the index of the tool call. details: more of the reasoning's.
        """
        for index, item in enumerate(self._items):
            if (item.kind, item.call, item.status) == (kind, call, "in_progress"):
                item.details = [*item.details, *details]
                return index
        yield from self._close_texts()
        if kind != "call" and self._calls.has_arguments(self.answer.tool_calls):
            yield from self._finish_call()
        index = len(self._items)
        if kind == "call":
            item = new_call(self.record, self.answer.tool_calls[call], index)
            item.call = call
        else:
            item = new_item(self.record, kind, index)
            item.details = list(details)
            item.phase = self._phase if kind == "message" else None
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=index, item=item.document())
        if kind != "call" and not item.is_summary:
            part = self._items[index].part()
            yield self._content_event("response.content_part.added", index, part=part)
        return index

    def _add(self, item: OutputItem) -> Iterator[bytes]:
        """Add an item that is complete at once; the text and reasoning before it end."""
        yield from self._close_texts()
        index = len(self._items)
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=index, item=item.document())
        yield self._event("response.output_item.done", output_index=index, item=item.document())

    def _send_call(self, number: int) -> Generator[bytes, None, int]:
        """Begin a call, or send what is new of its arguments; return the index of its item."""
        index = yield from self._open("call", number)
        item, arguments = self._items[index], self.answer.tool_calls[number].arguments
        item.extras = self.answer.tool_calls[number].extras
        text = item.call_text(arguments)
        if delta := text[len(item.text) :]:
            item.parts = [text]  # one part, because each delta needs its length
            name = "custom_tool_call_input" if item.is_custom else "function_call_arguments"
            yield self._item_event(f"response.{name}.delta", index, delta=delta)
        return index

    def _finish_call(self) -> Iterator[bytes]:
        """End the current call; its arguments are complete."""
        if (current := self._calls.current) is not None:
            index = yield from self._send_call(current)
            yield from self._close(index, "completed")
            self._calls.finish()

    def _close_texts(self) -> Iterator[bytes]:
        """End the text and the reasoning before a new item."""
        for index, item in enumerate(self._items):
            if item.kind not in ("call", "kept"):
                yield from self._close(index, "completed")

    def close_all(self, status: str) -> Iterator[bytes]:
        """Yield the ends of the items that are not complete."""
        for index in range(len(self._items)):
            yield from self._close(index, status)

    def _close(self, index: int, status: str) -> Iterator[bytes]:
        item = self._items[index]
        if item.status != "in_progress":
            return
        item.status = status
        match item.kind:
            case "kept":
                if status == "incomplete" and "status" in item.kept:
                    item.kept = {**item.kept, "status": status}
            case "call" if item.is_custom:
                kind = "response.custom_tool_call_input.done"
                yield self._item_event(kind, index, input=item.text)
            case "call":
                kind = "response.function_call_arguments.done"
                yield self._item_event(kind, index, name=item.name, arguments=item.text)
            case "message":
                yield self._content_event(
                    "response.output_text.done", index, text=item.text, **_NO_LOGPROBS
                )
                yield self._content_event("response.content_part.done", index, part=item.part())
            case _ if item.is_summary and item.parts:
                kind = "response.reasoning_summary_text.done"
                yield self._summary_event(kind, index, text=item.text)
                kind = "response.reasoning_summary_part.done"
                yield self._summary_event(kind, index, part=item.part())
            case _ if not item.is_summary:
                yield self._content_event("response.reasoning_text.done", index, text=item.text)
                yield self._content_event("response.content_part.done", index, part=item.part())
            case _:
                pass
        yield self._event("response.output_item.done", output_index=index, item=item.document())

    def _content_event(self, kind: str, index: int, **fields: Any) -> bytes:
        return self._item_event(kind, index, content_index=0, **fields)

    def _summary_event(self, kind: str, index: int, **fields: Any) -> bytes:
        return self._item_event(kind, index, summary_index=0, **fields)

    def _item_event(self, kind: str, index: int, **fields: Any) -> bytes:
        return self._event(kind, item_id=self._items[index].id, output_index=index, **fields)

    def _response_event(self, kind: str, **fields: Any) -> bytes:
        document = build_document(self.record, self.answer, self.output())
        return self._event(kind, response={**document, **fields})

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return self.frame(kind, encode_json(data))

    def frame(self, kind: str, data: bytes) -> bytes:
        """Return an event as the transport carries it. data: its JSON, which has its kind too."""
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
