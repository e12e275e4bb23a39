"""Endpoints of a team's own: the settings say where the text is, what ends it, what is an error.

Examples are `{"code":200,"data":…}` closed by `{"code":-200}`, plain-text events closed by a word,
and ChatGLM-style events that each repeat the whole text so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec

from hub.core.cumulative_text import CumulativeText
from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import StreamPart, TextDelta
from hub.errors import UpstreamError
from hub.upstreams.dialect import BEARER, AuthHeader, UpstreamRequest, UpstreamStreamError
from hub.upstreams.framing import NDJSON, SSE


class EnvelopeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are built and events are read.

    request: the fields of the body (POST) or of the query (GET). The placeholders `{prompt}` and
        `{model}` are replaced inside texts; a value that is exactly `{messages}` or `{params}`
        becomes the list of messages or the object of parameters.
    framing: how the response is split into events.
    json_data: whether the data of an event is JSON. text: the dotted path of the text in it; ""
        means all of the data. text_mode: whether that text is new, or all text so far.
    ok_field, ok_values: a field that must have one of these values. An event without it is an
        error, unless it ends the answer.
    end_field, end_values: a field whose value ends the answer. end_texts: data that ends it.
        end_events: event names that end it. end_of_stream: whether the end of the stream ends it.
    error_events: event names that report an error.
    """

    method: Literal["POST", "GET"]
    path: str
    request: Mapping[str, Any]
    framing: Literal["sse", "ndjson"]
    json_data: bool
    text: str
    text_mode: Literal["delta", "cumulative"]
    ok_field: str
    ok_values: tuple[str | int, ...]
    end_field: str
    end_values: tuple[str | int | bool, ...]
    end_texts: tuple[str, ...]
    end_events: tuple[str, ...]
    end_of_stream: bool
    error_events: tuple[str, ...]


class Envelope:
    """Implements Dialect by rules; its path is one of them."""

    kind: ClassVar[str] = "envelope"
    auth_header: ClassVar[AuthHeader] = BEARER

    def __init__(self, rules: EnvelopeRules) -> None:
        self._rules = rules
        self.path = rules.path
        framing = SSE if rules.framing == "sse" else NDJSON
        self.framing = msgspec.structs.replace(framing, end_is_finish=rules.end_of_stream)

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        rules = self._rules
        return UpstreamRequest(method=rules.method, body=_fill(dict(rules.request), request))

    def new_reader(self) -> _EnvelopeReader:
        return _EnvelopeReader(self._rules)


def _fill(template: Any, request: GenerationRequest) -> Any:
    """Return the template with its placeholders replaced."""
    if isinstance(template, dict):
        return {name: _fill(each, request) for name, each in template.items()}
    if isinstance(template, list | tuple):
        return [_fill(each, request) for each in template]
    if template == "{messages}":
        return request.messages
    if template == "{params}":
        return request.params
    if isinstance(template, str):
        return template.replace("{model}", request.model).replace("{prompt}", _last_prompt(request))
    return template


def _last_prompt(request: GenerationRequest) -> str:
    """Return the content of the last message; parts become JSON."""
    content = request.messages[-1].content
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


class _EnvelopeReader:
    """Implements ResponseReader by rules."""

    def __init__(self, rules: EnvelopeRules) -> None:
        self._rules = rules
        self._text = CumulativeText()
        self.done = False
        self.finish_reason: str | None = None

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        rules = self._rules
        if event.name in rules.error_events:
            raise UpstreamStreamError(event.data)
        if event.data.strip() in rules.end_texts:
            self._finish()
            return
        data: Any = msgspec.json.decode(event.data) if rules.json_data else event.data
        is_end = event.name in rules.end_events or (
            rules.end_field != "" and _get_path(data, rules.end_field) in rules.end_values
        )
        if not rules.ok_field or _get_path(data, rules.ok_field) in rules.ok_values:
            yield from self._read_text(_get_path(data, rules.text) if rules.text else data)
        elif not is_end:
            raise UpstreamStreamError(event.data)
        if is_end:
            self._finish()

    def _read_text(self, text: object) -> Iterator[StreamPart]:
        if text is None:
            return
        if not isinstance(text, str):
            message = f"the upstream sent a value that is not text at {self._rules.text!r}"
            raise UpstreamError("upstream_protocol", message, retryable=False)
        if self._rules.text_mode == "delta":
            if text:
                yield TextDelta(text)
        elif (part := self._text.update(text)) is not None:
            yield part

    def _finish(self) -> None:
        self.finish_reason, self.done = "stop", True


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
