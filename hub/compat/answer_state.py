"""An answer as its events tell it, folded: what there is of it now, and how it ended."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.core.generation import Generation

_MAX_TOOL_CALLS: Final = 1000


class GenerationEvent(msgspec.Struct, gc=False):
    """The data of any of a generation's events."""

    text: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    code: str = ""
    message: str = ""
    upstream_status: int | None = None


decode_event: Final = msgspec.json.Decoder(GenerationEvent).decode


class ToolCall(msgspec.Struct):
    """One call, as far as it has come. `arguments` is JSON text."""

    id: str
    name: str = ""
    arguments: str = ""


class AnswerState:
    """Fed the events in order. `status` is the end event's word, empty before the end; `error` what
    a failure said.
    """

    def __init__(self, generation: str) -> None:
        self._generation = generation
        self._text_parts: list[str] = []
        self._reasoning_parts: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.is_started = False
        self.status = ""
        self.end = GenerationEvent()

    @property
    def text(self) -> str:
        """What has been said so far."""
        return "".join(self._text_parts)

    @property
    def reasoning(self) -> str:
        """What has been thought so far."""
        return "".join(self._reasoning_parts)

    def feed(self, name: str, told: GenerationEvent) -> None:
        """The next event."""
        match name:
            case "generation.started":
                self.is_started = True
            case "generation.delta":
                self._append(told)
            case "generation.replaced":
                self._text_parts = [told.text or ""]
            case "generation.restarted":
                self._text_parts, self._reasoning_parts, self.tool_calls = [], [], []
            case "generation.done" | "generation.stopped" | "generation.failed":
                self.status, self.end = name.removeprefix("generation."), told
            case _:
                pass

    def _append(self, told: GenerationEvent) -> None:
        if told.text:
            self._text_parts.append(told.text)
        if told.reasoning:
            self._reasoning_parts.append(told.reasoning)
        for call in told.tool_calls or ():
            index = call_index(call)
            while len(self.tool_calls) <= index < _MAX_TOOL_CALLS:
                self.tool_calls.append(ToolCall(f"call_{self._generation}_{len(self.tool_calls)}"))
            if index < len(self.tool_calls):
                _append_call(self.tool_calls[index], call)


def _append_call(known: ToolCall, call: dict[str, Any]) -> None:
    if isinstance(id_ := call.get("id"), str) and id_:
        known.id = id_
    known.name = known.name or call_name(call)
    known.arguments += call_arguments(call)


def call_index(call: dict[str, Any]) -> int:
    """Which of the calls a piece belongs to."""
    index = call.get("index")
    return index if isinstance(index, int) and index >= 0 else 0


def call_name(call: dict[str, Any]) -> str:
    """The function's name, where the piece says it."""
    return _function_field(call, "name")


def call_arguments(call: dict[str, Any]) -> str:
    """The piece of the arguments."""
    return _function_field(call, "arguments")


def _function_field(call: dict[str, Any], field: str) -> str:
    function = call.get("function")
    value = function.get(field) if isinstance(function, dict) else None
    return value if isinstance(value, str) else ""


class AlreadySentTextChanged(Exception):
    """A client that cannot take anything back was shown what is not in the answer any more."""


class AppendOnlyText:
    """What an append-only client was shown of a text that may be rewritten or begin anew.

    A new version goes on without a seam as long as it repeats what was shown; what is repeated is
    not shown twice.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._expected = ""  # what must still be repeated

    def add(self, text: str) -> str:
        """What is new of a delta. Raises Rewritten."""
        due = self._expected
        if due:
            if len(text) < len(due) and due.startswith(text):
                self._expected = due[len(text) :]
                return ""
            if not text.startswith(due):
                raise AlreadySentTextChanged
            self._expected, text = "", text[len(due) :]
        self._parts.append(text)
        return text

    def restart(self) -> None:
        """The text is void; another version of it follows."""
        self._expected = "".join(self._parts)

    def end(self) -> None:
        """The text is whole. Raises Rewritten when it is less than what was shown."""
        if self._expected:
            raise AlreadySentTextChanged


class AnswerCollector:
    """Implements ports.Surface for who waits for the whole answer: no chunks."""

    trailer = b""

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
            self.answer.feed(name, decode_event(data))
        return ()

    def abort(self, code: str, message: str) -> bytes:
        return b""
