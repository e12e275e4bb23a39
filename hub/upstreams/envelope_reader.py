"""Endpoints of a team's own: what their events mean. envelope.py builds the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec

from hub.core.cumulative_text import CumulativeText
from hub.core.parts import Part, Text
from hub.core.sse_decoder import ServerSentEvent
from hub.errors import UpstreamError
from hub.upstreams.content import read_text
from hub.upstreams.dialect import UpstreamStreamError, is_empty_end


class EnvelopeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are built and events are read.

    request: the fields of the body (POST) or of the query (GET). The placeholders `{prompt}` and
        `{model}` are replaced inside texts; a value that is exactly `{messages}` or `{params}`
        becomes the list of messages or the object of parameters.
    framing: how the response is split into events; `text` is the text itself, without events.
    json_data: whether the data of an event is JSON. data_space: whether the space after `data:`
        belongs to a text. text: the dotted path of the text in JSON data; "" means all of the
        data. text_mode: whether that text is new, or all text so far.
    ok_field, ok_values: a field that must have one of these values. An event without it is an
        error, unless it ends the answer.
    end_field, end_values: a field whose value ends the answer. end_texts: data, or a text in it,
        that ends the answer. end_events: event names that end it, whatever their data is.
        end_of_stream: whether the end of the stream ends it.
    error_events: event names that report an error. error_field: the dotted path of its message.
    """

    method: Literal["POST", "GET"]
    path: str
    request: Mapping[str, Any]
    framing: Literal["sse", "ndjson", "text"]
    json_data: bool
    data_space: Literal["strip", "keep"]
    text: str
    text_mode: Literal["delta", "cumulative"]
    ok_field: str
    ok_values: tuple[bool | int | str, ...]
    end_field: str
    end_values: tuple[bool | int | str, ...]
    end_texts: tuple[str, ...]
    end_events: tuple[str, ...]
    end_of_stream: bool
    error_events: tuple[str, ...]
    error_field: str


class EnvelopeReader:
    """Implements ResponseReader by rules."""

    event_type: ClassVar[Any] = Any  # the rules read each field on its own
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self, rules: EnvelopeRules) -> None:
        self._rules = rules
        self._text = CumulativeText()
        self._end_words = {word.strip() for word in rules.end_texts}
        self.done = False
        self.finish_reason: str | None = None

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        rules = self._rules
        if rules.framing == "text":
            yield Text(event.data)
        elif event.name in rules.error_events:
            raise self._build_error(event.data)
        elif event.name in rules.end_events:
            yield from self._read_end_event(event.data)
            self._finish()
        elif event.data.strip() in self._end_words or is_empty_end(event):
            self._finish()
        elif event.data or not rules.json_data:
            yield from self._read_data(event.data)

    def _read_data(self, text: str) -> Iterator[Part]:
        rules = self._rules
        data = msgspec.json.decode(text) if rules.json_data else text
        is_end = rules.end_field != "" and matches(
            _get_path(data, rules.end_field), rules.end_values
        )
        if not rules.ok_field or matches(_get_path(data, rules.ok_field), rules.ok_values):
            value = self._get_text(data)
            if isinstance(value, str) and value.strip() in self._end_words:
                is_end = True
            else:
                yield from self._read_text(value)
        elif not is_end:
            raise self._build_error(text)
        if is_end:
            self._finish()

    def _read_end_event(self, text: str) -> Iterator[Part]:
        """Read the text beside an end, if there is one: many servers repeat the name there."""
        if text.strip() in {"", *self._end_words, *self._rules.end_events}:
            return
        if not self._rules.json_data:
            yield from self._read_text(text)
            return
        try:
            data = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return
        value = self._get_text(data)
        if isinstance(value, str) and value.strip() not in self._end_words:
            yield from self._read_text(value)

    def _get_text(self, data: Any) -> Any:
        is_whole = not self._rules.json_data or not self._rules.text
        return data if is_whole else _get_path(data, self._rules.text)

    def _read_text(self, value: object) -> Iterator[Part]:
        if isinstance(value, list):
            value = read_text(value)
        if value is None or value is False:
            return
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = msgspec.json.encode(value).decode()
        if not isinstance(value, str):
            message = f"the upstream sent a value that is not text at {self._rules.text!r}"
            raise UpstreamError("upstream_protocol", message, retryable=False)
        if self._rules.text_mode == "delta":
            if value:
                yield Text(value)
        elif (part := self._text.update(value)) is not None:
            yield part

    def _build_error(self, text: str) -> UpstreamStreamError:
        """Return the error with the message of `error_field`, or with the data if it has none."""
        if self._rules.error_field:
            try:
                message = _get_path(msgspec.json.decode(text), self._rules.error_field)
            except (msgspec.DecodeError, RecursionError):
                message = None
            if message is not None:
                return UpstreamStreamError(msgspec.json.encode({"message": str(message)}))
        return UpstreamStreamError(text)

    def _finish(self) -> None:
        self.finish_reason, self.done = "stop", True


def matches(value: object, accepted: Iterable[bool | int | str]) -> bool:
    """Return whether a value of an event is one of those of the settings.

    Servers write the same value as a number, as true or as a text: `true`, `"true"` and 1 are the
    same, and so are 200 and `"200"`.
    """
    forms = _written_forms(value)
    return any(forms & _written_forms(each) for each in accepted)


def _written_forms(value: object) -> set[str]:
    match value:
        case bool():
            return {"true", "1"} if value else {"false", "0"}
        case float() if value.is_integer():
            return {str(int(value))}
        case int() | float():
            return {str(value)}
        case str():
            return {value.strip().lower()}
        case _:
            return set()


def _get_path(value: Any, path: str) -> Any:
    """Return the value at a dotted path, None if there is none. Numbers index lists."""
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
