"""OpenAI's Responses API: the events of a response.

Source: platform.openai.com, API reference, "Responses: streaming events". An answer is complete at
`response.completed` or `response.incomplete`; there is no `[DONE]`. The request is built in
openai/responses_request.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from hub.core.finish_reasons import normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import (
    Data,
    Part,
    Reasoning,
    ReasoningDetails,
    Text,
    ToolCallDelta,
)
from hub.core.response_items import EVENT_DATA, MESSAGE_DATA
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.content import AnnotationReader, ContentText, read_text, require_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
)
from hub.upstreams.framing import SSE
from hub.upstreams.openai.responses_output import ItemPositions, ReceivedText
from hub.upstreams.openai.responses_request import REASONING_FORMAT, build_input, build_params

_ADDED: Final = ("output_item.added",)
_READ_ITEMS: Final = ("message", "reasoning", "function_call", "custom_tool_call")


class StreamEvent(msgspec.Struct, gc=False):
    type: str | None = None
    delta: ContentText | dict[str, Any] = None
    output_index: int | None = None
    content_index: int | None = 0
    summary_index: int | None = None
    item_id: str | None = None
    text: ContentText = None
    part: dict[str, Any] | None = None
    refusal: str | None = None
    arguments: Any = None
    annotation: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    sequence_number: int | None = None
    object: str | None = None  # these two: of a response that is not streamed
    status: str | None = None


decode_event = msgspec.json.Decoder(StreamEvent).decode


class OpenAiResponses:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "openai-responses"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = "/responses"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        return UpstreamRequest(
            body={
                "store": False,  # the API's default is true, unlike in chat completions
                **self._body,
                **build_params(request, self._body),
                "model": request.model,
                "input": build_input(request),
                "stream": True,
            },
        )

    def new_reader(self, request: GenerationRequest | None = None) -> ResponsesReader:
        return ResponsesReader()


class ResponsesReader:
    """Implements ResponseReader for streaming events of the Responses API.

    What only `.done` events or the last event have is read from them.
    """

    event_type: ClassVar[Any] = StreamEvent
    text_events: ClassVar[frozenset[str] | None] = frozenset(
        {"response.output_item.done", "response.completed", "response.incomplete"}
    )
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self) -> None:
        self._positions = ItemPositions()
        self._text = ReceivedText()
        self._reasoning = ReceivedText()
        self._arguments: dict[int, list[str]] = {}  # by the output index of the call
        self._calls: dict[int, str] = {}  # output index → id, of the calls that have begun
        self._inputs: dict[int, str] = {}  # by the output index of the call of a custom tool
        self._whole_inputs: set[int] = set()
        self._messages: set[int] = set()  # output indexes of the messages that have begun
        self._has_phases = False
        self._kept_ids: set[str] = set()  # of items that the hub only passes on
        self._item_ids: set[str] = set()  # of reasoning whose encrypted content was read
        self._annotations = AnnotationReader()
        self._has_refusal = False
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        yield from self.read_data(event, decode_event(event.data))

    def read_data(self, event: ServerSentEvent, data: StreamEvent) -> Iterator[Part]:
        """Yield the parts of an event. data: its data, decoded. Raise as `read` does."""
        if data.type is None and data.object == "response":
            data = StreamEvent(data.status, response=msgspec.json.decode(event.data))
        if data.item is None:
            output_index = self._positions.find(data.output_index, data.item_id)
        else:
            output_index = self._positions.add(data.output_index, data.item)
        key = (output_index, data.summary_index or data.content_index or 0)
        if (item_id := self._kept_id(data.type or event.name, data, output_index)) is not None:
            yield _keep_event(event, item_id)
            return
        match (data.type or event.name).removeprefix("response."):
            case "completed" | "incomplete" | "done" as kind:
                yield from self._read_end(kind, data.response or {})
            case "failed" | "cancelled":
                raise UpstreamStreamError(msgspec.json.encode(data.response or {}))
            case "error":
                raise UpstreamStreamError(event.data)
            case "output_item.done":
                yield from self._read_item(output_index, data.item or {})
            case "output_item.added" if (data.item or {}).get("type") == "message":
                yield from self._begin_message(output_index, data.item or {})
            case "content_part.done" if data.part is not None:
                yield from self._read_part(key, data.part)
            case kind if "tool_call_input" in kind or "call_arguments" in kind or kind in _ADDED:
                yield from self._read_call_event(kind, output_index, data)
            case kind:
                yield from self._read_text_event(kind, key, data)

    def _kept_id(self, kind: str, data: StreamEvent, output_index: int) -> str | None:
        """Return the id of the item that an event belongs to if the hub only passes it on."""
        is_item = "output_item." in kind  # the field means nothing in other events
        if is_item and data.item is not None and data.item.get("type") not in _READ_ITEMS:
            self._kept_ids.add(item_id := str(data.item.get("id") or output_index))
            return item_id
        return data.item_id if data.item_id in self._kept_ids else None

    def _read_call_event(self, kind: str, output_index: int, data: StreamEvent) -> Iterator[Part]:
        match kind:
            case "output_item.added" if (data.item or {}).get("type") == "function_call":
                yield from self._begin_call(output_index, data.item or {})
            case "output_item.added" if (data.item or {}).get("type") == "custom_tool_call":
                yield from self._begin_call(output_index, {**(data.item or {}), "arguments": None})
            case "function_call_arguments.delta" if isinstance(data.delta, dict):
                function = {"arguments": data.delta}
                yield ToolCallDelta([{"index": output_index, "function": function}])
            case "function_call_arguments.delta":
                yield from self._read_arguments(output_index, require_text(data.delta))
            case "function_call_arguments.done":
                yield from self._read_missing_arguments(output_index, data.arguments)
            case "custom_tool_call_input.delta":
                yield from self._read_input(output_index, require_text(data.delta))
            case _:
                pass

    def _read_text_event(
        self, kind: str, key: tuple[int, int], data: StreamEvent
    ) -> Iterator[Part]:
        match kind:
            case "output_text.delta" | "refusal.delta":
                self._has_refusal = self._has_refusal or kind == "refusal.delta"
                if text := require_text(data.delta):
                    self._messages.add(key[0])
                    self._text.add(key, text)
                    yield Text(text)
            case "reasoning_text.delta" | "reasoning_summary_text.delta":
                if text := require_text(data.delta):
                    yield Reasoning(self._reasoning.separator(key) + text)
                    self._reasoning.add(key, text)
            case "output_text.done" | "refusal.done":
                self._has_refusal = self._has_refusal or bool(data.refusal)
                yield from self._read_text(key, read_text(data.text) or data.refusal or "")
            case "reasoning_text.done" | "reasoning_summary_text.done":
                yield from self._read_reasoning(key, read_text(data.text))
            case "output_text.annotation.added" if data.annotation is not None:
                yield from self._annotations.read([data.annotation])
            case _:
                pass

    def _read_text(self, key: tuple[int, int], text: str) -> Iterator[Part]:
        if missing := self._text.add_missing(key, text):
            yield Text(missing)

    def _read_reasoning(self, key: tuple[int, int], text: str) -> Iterator[Part]:
        separator = self._reasoning.separator(key)
        if missing := self._reasoning.add_missing(key, text):
            yield Reasoning(separator + missing)

    def _read_part(self, key: tuple[int, int], part: dict[str, Any]) -> Iterator[Part]:
        """Yield what is missing of a complete part of an item."""
        match part.get("type"):
            case "reasoning_text" | "summary_text":
                yield from self._read_reasoning(key, read_text(part))
            case _:
                self._has_refusal = self._has_refusal or bool(part.get("refusal"))
                yield from self._read_text(key, read_text(part))

    def _begin_message(self, output_index: int, item: dict[str, Any]) -> Iterator[Part]:
        """Yield the beginning of a message that has a phase, or that follows one with a phase."""
        given = item.get("phase")
        phase = given if given and isinstance(given, str) else None
        self._has_phases = self._has_phases or phase is not None
        if self._has_phases and output_index not in self._messages:
            yield Data(MESSAGE_DATA, {"phase": phase})
        self._messages.add(output_index)

    def _begin_call(self, output_index: int, item: dict[str, Any]) -> Iterator[Part]:
        """Yield the beginning of a call. Arguments in it count only if no others come."""
        if output_index not in self._calls:
            self._calls[output_index] = str(item.get("call_id") or "")
            arguments = item.get("arguments")
            function = {"name": item.get("name"), "arguments": _decode_object(arguments)}
            yield ToolCallDelta([{"index": output_index, "id": item.get("call_id"),
                                  "function": function}])  # fmt: skip

    def _read_arguments(self, output_index: int, arguments: str) -> Iterator[Part]:
        if arguments:
            self._arguments.setdefault(output_index, []).append(arguments)
            yield ToolCallDelta([{"index": output_index, "function": {"arguments": arguments}}])

    def _read_input(self, output_index: int, text: str) -> Iterator[Part]:
        """Yield the input of a custom tool, which is a text, as the only argument of a function."""
        if text:
            head = "" if output_index in self._inputs else '{"input":"'
            self._inputs[output_index] = self._inputs.get(output_index, "") + text
            escaped = msgspec.json.encode(text).decode()[1:-1]
            yield from self._read_arguments(output_index, head + escaped)

    def _end_input(self, output_index: int, text: str) -> Iterator[Part]:
        """Yield what is missing of the whole input of a custom tool, once."""
        if output_index in self._whole_inputs:
            return
        self._whole_inputs.add(output_index)
        known = self._inputs.get(output_index, "")
        if text.startswith(known):
            yield from self._read_input(output_index, text[len(known) :])
        end = '"}' if output_index in self._inputs else '{"input":""}'
        yield from self._read_arguments(output_index, end)

    def _read_missing_arguments(self, output_index: int, arguments: Any) -> Iterator[Part]:
        known = "".join(self._arguments.get(output_index, ()))
        if arguments and not isinstance(arguments, str):
            arguments = "" if known else msgspec.json.encode(arguments).decode()
        if arguments and arguments.startswith(known):
            yield from self._read_arguments(output_index, arguments[len(known) :])

    def _read_item(self, output_index: int, item: dict[str, Any]) -> Iterator[Part]:
        """Yield what is missing of a complete item of the output."""
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        match item.get("type"):
            case "message":
                yield from self._begin_message(output_index, item)
                for n, part in enumerate(parts):
                    yield from self._read_text((output_index, n), read_text(part))
                    if isinstance(part, dict) and isinstance(part.get("annotations"), list):
                        yield from self._annotations.read(part["annotations"])
            case "reasoning":
                summary = item.get("summary")
                texts = parts or (summary if isinstance(summary, list) else [])
                for n, part in enumerate(texts):
                    yield from self._read_reasoning((output_index, n), read_text(part))
                if item.get("encrypted_content") and str(item.get("id")) not in self._item_ids:
                    self._item_ids.add(str(item.get("id")))
                    detail = {"type": "reasoning.encrypted", "data": item["encrypted_content"]}
                    fields = {"id": item.get("id"), "format": REASONING_FORMAT}
                    yield ReasoningDetails([{**detail, **fields, "index": output_index}])
            case "function_call":
                yield from self._begin_call(output_index, item)
                yield from self._read_missing_arguments(output_index, item.get("arguments"))
            case "custom_tool_call":
                yield from self._begin_call(output_index, {**item, "arguments": None})
                yield from self._end_input(output_index, read_text(item.get("input")))

    def _read_end(self, kind: str, response: dict[str, Any]) -> Iterator[Part]:
        status = response.get("status")
        if status in ("failed", "cancelled"):
            raise UpstreamStreamError(msgspec.json.encode(response))
        output = response.get("output")
        if isinstance(output, list):
            yield from self._read_output([item for item in output if isinstance(item, dict)])
        details = response.get("incomplete_details")
        is_cut = kind == "incomplete" or status == "incomplete"
        reason = read_text(details.get("reason")) if isinstance(details, dict) else ""
        reason = reason or ("length" if is_cut else "")
        self.finish_reason = normalise_finish_reason(reason) or "stop"
        if self._has_refusal and not reason:
            self.finish_reason = "refusal"
        self.done = True
        yield from convert_usage(response.get("usage"))

    def _read_output(self, items: Sequence[dict[str, Any]]) -> Iterator[Part]:
        """Yield what only the complete output has. Its positions may differ from the indexes of the
        events, so texts are compared as a whole, and calls by their ids.
        """
        messages = [(n, item) for n, item in enumerate(items) if item.get("type") == "message"]
        if not self._text.all() and any(item.get("phase") for _, item in messages):
            for n, item in messages:
                yield from self._read_item(n, item)
        received = self._text.all()
        text = "".join(read_text(item.get("content")) for _, item in messages)
        if text.startswith(received) and len(text) > len(received):
            yield Text(text[len(received) :])
        indexes = {id_: index for index, id_ in self._calls.items() if id_}
        unused_index = max((*self._calls, *self._arguments, -1)) + 1
        for n, item in enumerate(items):
            match item.get("type"):
                case "function_call" | "custom_tool_call":
                    index = indexes.get(str(item.get("call_id")), n if n in self._calls else None)
                    yield from self._read_item(unused_index if index is None else index, item)
                    unused_index += index is None
                case "reasoning" if not self._reasoning.all() or item.get("encrypted_content"):
                    yield from self._read_item(n, item)
                case kind if kind not in _READ_ITEMS:
                    item_id = str(item.get("id") or n)
                    if item_id not in self._kept_ids:
                        end = {"type": "response.output_item.done", "item": item}
                        yield Data(EVENT_DATA, end, item_id)
                case _:
                    pass


def _keep_event(event: ServerSentEvent, item_id: str) -> Data:
    """Return an event of an item that the hub does not read (core/response_items.py)."""
    value = msgspec.json.decode(event.data)
    return Data(EVENT_DATA, {"type": event.name, **value}, item_id)


def _decode_object(arguments: Any) -> Any:
    """Return arguments that are the text of a JSON object as the object, else without a change."""
    try:
        value = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
