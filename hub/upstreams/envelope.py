"""Endpoints of one's own making: where the text is, what ends it and what is an error is set up.

Covers `{"code":200,"data":…}` closed by `{"code":-200}`, plain-text events closed by a word, and
ChatGLM-style events that each repeat the whole text so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from hub.core.cumulative_text import CumulativeText
from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import StreamPart, TextDelta
from hub.errors import UpstreamError
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import NDJSON, SSE, UpstreamStreamError


class EnvelopeRules(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask and how to read.

    request: the body's fields (POST) or the query's (GET); `{prompt}`, `{model}` and `{messages}`
        stand for the question's, the last one as a list where it stands alone, and `{params}`
        alone for all parameters.
    json_data: whether an event's data is JSON. text: dotted path to the text in it; "" is all.
    text_mode: what is new, or everything so far.
    ok_field, ok_values: a field that must have one of these values, else the event is an error,
        unless it is the end.
    end_field, end_values: a field whose value ends the answer. end_texts: data that ends it.
    end_events: event names that end it. end_of_stream: the connection's end does.
    error_events: event names that are errors.
    """

    method: Literal["POST", "GET"] = "POST"
    path: str = ""
    request: Mapping[str, Any]
    framing: Literal["sse", "ndjson"] = "sse"
    json_data: bool = True
    text: str = "data"
    text_mode: Literal["delta", "cumulative"] = "delta"
    ok_field: str = ""
    ok_values: tuple[str | int, ...] = ()
    end_field: str = ""
    end_values: tuple[str | int | bool, ...] = ()
    end_texts: tuple[str, ...] = ()
    end_events: tuple[str, ...] = ()
    end_of_stream: bool = False
    error_events: tuple[str, ...] = ()


class Envelope:
    """Implements Dialect by rules."""

    def __init__(self, rules: EnvelopeRules) -> None:
        self._rules = rules
        framing = SSE if rules.framing == "sse" else NDJSON
        self.framing = msgspec.structs.replace(framing, end_is_finish=rules.end_of_stream)

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        rules = self._rules
        return UpstreamRequest(
            method=rules.method, path=rules.path, body=_filled(dict(rules.request), request)
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader(self._rules)


def _filled(value: Any, question: GenerationRequest) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, question) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(each, question) for each in value]
    if value == "{messages}":
        return question.messages
    if value == "{params}":
        return question.params
    if isinstance(value, str):
        return value.replace("{model}", question.model).replace("{prompt}", _prompt(question))
    return value


def _prompt(question: GenerationRequest) -> str:
    """What was asked last."""
    content = question.messages[-1].content
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


class _AnswerReader:
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
            self._end()
            return
        said: Any = msgspec.json.decode(event.data) if rules.json_data else event.data
        ended = event.name in rules.end_events or (
            rules.end_field != "" and _at(said, rules.end_field) in rules.end_values
        )
        if not rules.ok_field or _at(said, rules.ok_field) in rules.ok_values:
            yield from self._piece(_at(said, rules.text) if rules.text else said)
        elif not ended:
            raise UpstreamStreamError(event.data)
        if ended:
            self._end()

    def _piece(self, text: object) -> Iterator[StreamPart]:
        if text is None:
            return
        if not isinstance(text, str):
            raise UpstreamError(
                "upstream_protocol",
                f"the upstream sent no text at {self._rules.text!r}",
                retryable=False,
            )
        if self._rules.text_mode == "delta":
            if text:
                yield TextDelta(text)
        elif (piece := self._text.update(text)) is not None:
            yield piece

    def _end(self) -> None:
        self.finish_reason, self.done = "stop", True


def _at(value: Any, path: str) -> Any:
    """What is at a dotted path; None when there is nothing."""
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
