"""The state of an answer, computed from its generation's events: text, tool calls and end."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from hub.core.event import encode_json
from hub.core.generation import Generation
from hub.core.part_events import DELTA, PART, to_events
from hub.core.response_items import EVENT_DATA, MESSAGE_DATA
from hub.core.tool_calls import MAX_TOOL_CALLS

_CALL_FIELDS: Final = {"index", "id", "type", "function", "run_by"}


class GenerationEvent(msgspec.Struct, gc=False):
    """The data of a `generation.*` event of any kind; a field that it lacks has its default."""

    i: int | None = None
    text: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    seconds: dict[str, Any] | None = None
    code: str = ""
    message: str = ""
    upstream_status: int | None = None
    upstream_code: str | None = None
    upstream_param: str | None = None
    parts: int = 0
    snapshot: dict[str, Any] = {}


decode_event: Final = msgspec.json.Decoder(GenerationEvent).decode


class ToolCall(msgspec.Struct):
    """One tool call as received so far. `arguments` is JSON text, incomplete until the end.

    extras: fields that chat completions do not define, such as `extra_content`. run_by: `producer`
    if whoever produces the answer runs the tool, `client` if the client is to run it. result,
    is_error: what the tool returned, UNSET before it did.
    """

    id: str
    name: str = ""
    arguments: str = ""
    extras: dict[str, Any] = {}
    run_by: str = "client"
    result: Any = UNSET
    is_error: bool = False


class AnswerState:
    """What the events fed so far say about an answer.

    status: `done`, `stopped` or `failed` after the end event, empty before it. end: the data of the
    end event.
    """

    def __init__(self, generation: str) -> None:
        self.generation = generation  # its id
        self._text_parts: list[str] = []
        self._reasoning_parts: list[str] = []
        self.tool_calls: list[ToolCall] = []  # by their `index` in the deltas
        self.reasoning_details: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.kept_items: dict[str, dict[str, Any]] = {}  # core/response_items.py, by the ids
        self.files: list[dict[str, Any]] = []  # parts of the type `file`
        self.messages: list[dict[str, Any]] = []  # core/response_items.py, their beginnings
        self.is_started = False
        self.is_cut = False  # whether parts were void when the answer was continued
        self.are_calls_cut = False  # whether tool calls were among them
        self._count = 0  # the number of parts so far
        self._has_parts = False  # whether there was any `generation.part`
        self.status = ""
        self.end = GenerationEvent()

    @property
    def has_output(self) -> bool:
        """Whether the answer has begun."""
        parts = (self._text_parts, self._reasoning_parts, self.tool_calls)
        return any(parts) or bool(self.reasoning_details or self.annotations or self._has_parts)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text_parts)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning_parts)

    def feed(self, name: str, event: GenerationEvent) -> None:
        """Apply the next event."""
        match name:
            case "generation.started":
                self.is_started = True
            case "generation.delta":
                self.count_part(event.i)
                self._append(event)
            case "generation.replaced":
                self.count_part(event.i)
                self._text_parts = [event.text or ""]
            case "generation.restarted":
                self.clear()
            case "generation.continued":
                self._continue(event)
            case "generation.done" | "generation.stopped" | "generation.failed":
                self.status, self.end = name.removeprefix("generation."), event
            case _:
                pass

    def feed_part(self, part: dict[str, Any]) -> None:
        """Apply the data of the next event `generation.part`."""
        self.count_part(part.get("i"))
        self._has_parts = True
        match part["type"]:
            case "data" if part["name"] == EVENT_DATA:
                if (item := kept_item(part)) is not None:
                    self.kept_items[str(part.get("id"))] = item
            case "data" if part["name"] == MESSAGE_DATA and isinstance(part["value"], dict):
                self.messages.append(part["value"])
            case "source":
                self.annotations.append(to_annotation(part))
            case "file":
                self.files.append(part)
            case "tool_result":
                if (index := self.find_call(part["id"])) is not None:
                    call = self.tool_calls[index]
                    call.result, call.is_error = part["result"], part.get("is_error", False)
            case _:
                pass

    def clear(self) -> None:
        """Forget all parts."""
        self._text_parts, self._reasoning_parts, self.tool_calls = [], [], []
        self.reasoning_details, self.annotations, self.files = [], [], []
        self.kept_items, self.messages, self._count = {}, [], 0

    def _continue(self, event: GenerationEvent) -> None:
        self.is_cut = event.parts < self._count
        if self.is_cut:
            calls, items = self.tool_calls, self.kept_items
            self.clear()
            for name, fields in to_events(event.snapshot["parts"]):
                if name == PART:
                    self.feed_part(fields)
                elif name == DELTA:
                    self.feed(name, GenerationEvent(**fields))
            self.are_calls_cut = (calls, items) != (self.tool_calls, self.kept_items)
        self._count = event.parts

    def count_part(self, number: int | None) -> None:
        """Take the `i` of the next part, None for an event that has none."""
        if number is not None:
            self._count = number + 1

    def find_call(self, id_: str) -> int | None:
        """Return the index of the newest tool call with this id, None if there is none."""
        for index in range(len(self.tool_calls) - 1, -1, -1):
            if self.tool_calls[index].id == id_:
                return index
        return None

    def _append(self, event: GenerationEvent) -> None:
        if event.text:
            self._text_parts.append(event.text)
        if event.reasoning:
            self._reasoning_parts.append(event.reasoning)
        self.reasoning_details += event.reasoning_details or ()
        self.annotations += event.annotations or ()
        for delta in event.tool_calls or ():
            index = call_index(delta)
            while len(self.tool_calls) <= index < MAX_TOOL_CALLS:
                self.tool_calls.append(ToolCall(f"call_{self.generation}_{len(self.tool_calls)}"))
            if index < len(self.tool_calls):
                _append_to_call(self.tool_calls[index], delta)


def _append_to_call(call: ToolCall, delta: dict[str, Any]) -> None:
    if isinstance(id_ := delta.get("id"), str) and id_:
        call.id = id_
    call.name = call.name or call_name(delta)
    call.arguments += call_arguments(delta)
    call.run_by = delta.get("run_by", call.run_by)
    call.extras |= {name: delta[name] for name in delta.keys() - _CALL_FIELDS}


def kept_item(part: dict[str, Any]) -> dict[str, Any] | None:
    """Return the item in the data of core/response_items.py, None if it is an event without one."""
    item = part["value"].get("item") if isinstance(part["value"], dict) else None
    return item if isinstance(item, dict) else None


def to_annotation(source: dict[str, Any]) -> dict[str, Any]:
    """Return a part `source` as an annotation of OpenAI's chat completions."""
    citation = {"url": source["url"], "title": source.get("title") or ""}
    return {"type": "url_citation", "url_citation": citation}


def result_text(result: Any) -> str:
    """Return the result of a tool as the text that clients expect: text as it is, or JSON."""
    return result if isinstance(result, str) else encode_json(result).decode()


def file_url(file: dict[str, Any]) -> str:
    """Return the URL of a part `file`; a data URL for one that has its content."""
    url: str | None = file.get("url")
    return url or f"data:{file['media_type']};base64,{file.get('data', '')}"


def call_index(delta: dict[str, Any]) -> int:
    """Return the index of the tool call that a delta belongs to."""
    index = delta.get("index")
    return index if isinstance(index, int) and index >= 0 else 0


def call_name(delta: dict[str, Any]) -> str:
    """Return the function's name, empty if the delta has none."""
    return _function_field(delta, "name")


def call_arguments(delta: dict[str, Any]) -> str:
    """Return the delta's part of the arguments."""
    return _function_field(delta, "arguments")


def _function_field(delta: dict[str, Any], field: str) -> str:
    function = delta.get("function")
    value = function.get(field) if isinstance(function, dict) else None
    return value if isinstance(value, str) else ""


class AnswerCollector:
    """Implements ports.AnswerEncoder without chunks, for callers that wait for the whole answer."""

    trailer = b""
    is_broken: Final = False

    def __init__(self, record: Generation) -> None:
        self.record = record
        self.answer = AnswerState(record.id)

    @property
    def is_finished(self) -> bool:
        return bool(self.answer.status)

    def start(self) -> tuple[bytes, ...]:
        return ()

    def feed(self, name: str, data: bytes) -> tuple[bytes, ...]:
        if not self.is_finished:
            if name == PART:
                self.answer.feed_part(msgspec.json.decode(data))
            else:
                self.answer.feed(name, decode_event(data))
        return ()

    def abort(self, code: str, message: str) -> bytes:
        return b""
