"""Endpoints of a team's own: the settings say where the text is, what ends it, what is an error.

Examples are `{"code":200,"data":…}` closed by `{"code":-200}`, plain-text events closed by a word,
and ChatGLM-style events that each repeat the whole text so far.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.upstreams.dialect import BEARER, AuthHeader, UpstreamRequest
from hub.upstreams.envelope_reader import EnvelopeReader, EnvelopeRules
from hub.upstreams.framing import TEXT, Framing, json_events, text_events, text_lines


class Envelope:
    """Implements Dialect by rules; its path is one of them."""

    kind: ClassVar[str] = "envelope"
    auth_header: ClassVar[AuthHeader] = BEARER

    def __init__(self, rules: EnvelopeRules) -> None:
        self._rules = rules
        self.path = rules.path
        self.framing = _choose_framing(rules)

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        rules = self._rules
        return UpstreamRequest(method=rules.method, body=_fill(dict(rules.request), request))

    def new_reader(self, request: GenerationRequest | None = None) -> EnvelopeReader:
        return EnvelopeReader(self._rules)


def _choose_framing(rules: EnvelopeRules) -> Framing:
    end_is_finish = rules.end_of_stream
    match rules.framing:
        case "text":
            return TEXT
        case "sse" if rules.json_data:
            return json_events("text/event-stream", end_is_finish=end_is_finish)
        case "sse":
            return text_events(keep_space=rules.data_space == "keep", end_is_finish=end_is_finish)
        case "ndjson" if rules.json_data:
            return json_events("application/x-ndjson", end_is_finish=end_is_finish)
        case "ndjson":
            return text_lines(end_is_finish=end_is_finish)


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
