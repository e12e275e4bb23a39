"""OpenAI's Responses API in background mode: an answer goes on while nobody reads it.

Source: platform.openai.com, guide "Background mode", and the API reference of
`GET /responses/{id}` and `POST /responses/{id}/cancel`. The vendor stores such an answer for about
ten minutes. Every event has a `sequence_number`, and `starting_after` is that of the newest event
that was read.

A reader that goes on at a point has not seen the events before it. It trusts the deltas: it reads
neither whole texts of items that had begun there nor the whole output at the end. There is no point
within items that are read as a whole: calls, and items that the hub only passes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.content import read_text
from hub.upstreams.dialect import UpstreamRequest
from hub.upstreams.http.reattaching import AnswerLost
from hub.upstreams.openai.responses import (
    OpenAiResponses,
    ResponsesReader,
    StreamEvent,
    decode_event,
)

P = TypeVar("P", bound="_Position")
_GROWING_ITEMS: Final = ("message", "reasoning")
_ENDS: Final = ("response.completed", "response.incomplete", "response.done")
_CALLS: Final = ("function_call", "custom_tool_call")


class _Position(msgspec.Struct, frozen=True):
    """id: that of the response. sequence_number: that of the newest event."""

    id: str
    sequence_number: int


class _Point(_Position, frozen=True, omit_defaults=True):
    """A position, and what a reader must know of the items that are not complete there.

    item: the index of the newest item that has begun. texts: of each part of a text: the index of
    the item and of the part, and the number of characters. reasoning: the indexes of the newest
    part of the reasoning. has_calls: whether there was a tool call. has_phases, has_refusal: as in
    ResponsesReader.
    """

    item: int = -1
    texts: list[tuple[int, int, int]] = []
    reasoning: tuple[int, int] | None = None
    has_calls: bool = False
    has_phases: bool = False
    has_refusal: bool = False


class BackgroundResponses:
    """Implements ReattachableDialect. responses: the same API in the foreground."""

    def __init__(self, responses: OpenAiResponses) -> None:
        self._responses = responses

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        built = self._responses.build_request(request, context)
        body = {**built.body, "background": True, "store": True}  # the API demands to store it
        return msgspec.structs.replace(built, body=body)

    def build_reattachment(self, position: Any) -> UpstreamRequest:
        known = _read_position(position, _Position)
        query = {"stream": True, "starting_after": known.sequence_number}
        return UpstreamRequest(method="GET", below=f"/{quote(known.id, safe='')}", body=query)

    def build_cancellation(self, position: Any) -> UpstreamRequest:
        known = _read_position(position, _Position)
        return UpstreamRequest(below=f"/{quote(known.id, safe='')}/cancel", body={})

    def new_reader(self, point: Any | None) -> BackgroundReader:
        return BackgroundReader(None if point is None else _read_position(point, _Point))


def _read_position(value: Any, kind: type[P]) -> P:
    """Return a position or a point from its JSON. Raise AnswerLost."""
    try:
        return msgspec.convert(msgspec.to_builtins(value), kind)
    except msgspec.ValidationError as error:
        raise AnswerLost(f"the point where the answer continues cannot be read: {error}") from None


class BackgroundReader(ResponsesReader):
    """Implements PositionedReader. point: None means the beginning of an answer."""

    def __init__(self, point: _Point | None) -> None:
        super().__init__()
        self._response_id: str | None = None
        self._sequence_number = -1
        self._item = self._resumed_item = -1
        self._is_attached = point is not None
        self._open_items: set[int] = set()  # those that are read as a whole
        self._complete_items: set[int] = set()
        self._has_indexes = True
        self._has_calls = False
        self._has_parts = False
        self.first_point: _Point | None = None
        self._last_point: _Point | None = None  # before the end, if that brings no part
        if point is not None:
            self._response_id, self._sequence_number = point.id, point.sequence_number
            self._item = self._resumed_item = point.item
            self._messages |= set(range(point.item + 1))
            self._has_calls, self._has_phases = point.has_calls, point.has_phases
            self._has_refusal = point.has_refusal
            for output_index, content_index, length in point.texts:
                self._text.continue_part((output_index, content_index), length)
            if point.reasoning is not None:
                self._reasoning.continue_part(point.reasoning, 0)

    @property
    def position(self) -> _Position | None:
        """See PositionedReader."""
        if self._response_id is None or self._sequence_number < 0:
            return None
        return _Position(self._response_id, self._sequence_number)

    @property
    def point(self) -> _Point | None:
        """See PositionedReader. The end of the answer is behind it, and is read again."""
        if self.finish_reason is not None:
            return self._last_point
        position = self.position
        if position is None or self._open_items or not self._has_indexes:
            return None
        reasoning = self._reasoning.newest
        return _Point(
            position.id,
            position.sequence_number,
            item=self._item,
            texts=[
                (*key, self._text.length(key))
                for key in self._text.keys
                if key[0] not in self._complete_items
            ],
            reasoning=reasoning,
            has_calls=self._has_calls,
            has_phases=self._has_phases,
            has_refusal=self._has_refusal,
        )

    def reattach(self) -> None:
        """See PositionedReader."""
        self._is_attached = True

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        data = decode_event(event.data)
        number = data.sequence_number
        if self._is_attached and data.type is None and data.object == "response":
            raise AnswerLost("the upstream sent the whole response instead of its events")
        if number is not None and number <= self._sequence_number:
            return  # a repetition, after the connection was attached again
        is_end, is_visible, point = (data.type or event.name) in _ENDS, False, None
        if is_end:
            point = self.point
        for part in self.read_data(event, data):
            self._has_parts = True
            is_visible = is_visible or not isinstance(part, Usage)
            yield part
        self._note(event, data)
        if is_end and not is_visible:
            self._last_point = point
        if self.first_point is None and not self._has_parts:
            self.first_point = self.point

    def _note(self, event: ServerSentEvent, data: StreamEvent) -> None:
        """Note where the stream is behind an event."""
        if data.sequence_number is not None:
            self._sequence_number = data.sequence_number
        if self._response_id is None and isinstance((data.response or {}).get("id"), str):
            self._response_id = (data.response or {})["id"]
        if data.output_index is not None:
            self._item = max(self._item, data.output_index)
        if data.item is None:
            return
        self._has_indexes = self._has_indexes and data.output_index is not None
        index, kind = data.output_index or 0, data.item.get("type")
        self._has_calls = self._has_calls or kind in _CALLS
        if (data.type or event.name) == "response.output_item.done":
            self._complete_items.add(index)
            arguments = read_text(data.item.get("arguments"))
            if kind != "function_call" or arguments.strip():  # otherwise they come at the end
                self._open_items.discard(index)
        elif kind not in _GROWING_ITEMS:
            self._open_items.add(index)

    def _read_text(self, key: tuple[int, int], text: str) -> Iterator[Part]:
        if key[0] > self._resumed_item:
            yield from super()._read_text(key, text)
        if self._is_attached and 0 < self._text.length(key) < len(text):
            raise AnswerLost("the upstream left out a part of the text")

    def _read_reasoning(self, key: tuple[int, int], text: str) -> Iterator[Part]:
        if key[0] > self._resumed_item:
            yield from super()._read_reasoning(key, text)

    def _read_item(self, output_index: int, item: dict[str, Any]) -> Iterator[Part]:
        content = item.get("content")
        if output_index <= self._resumed_item and isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            item = {**item, "content": [{**part, "annotations": None} for part in parts]}
        yield from super()._read_item(output_index, item)

    def _read_end(self, kind: str, response: dict[str, Any]) -> Iterator[Part]:
        yield from super()._read_end(kind, response)
        if self.finish_reason == "stop" and self._has_calls:
            self.finish_reason = "tool_calls"

    def _read_output(self, items: Sequence[dict[str, Any]]) -> Iterator[Part]:
        if self._resumed_item < 0:
            yield from super()._read_output(items)
