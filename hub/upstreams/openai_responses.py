"""OpenAI's Responses events.

Source: platform.openai.com, API reference, "Responses: streaming events". An answer is complete at
`response.completed` or `response.incomplete`; there is no [DONE].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import SSE, UpstreamStreamError, usage_of
from hub.upstreams.openai_responses_request import input_of, params_of

_REASONS: Final = {"max_output_tokens": "length"}


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: str | None = None
    output_index: int = 0
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Event).decode


class OpenAiResponses:
    """Implements Dialect. body: fields of every request beside the question's own."""

    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        return UpstreamRequest(
            path="/responses",
            body={
                "store": False,  # the default is true there, unlike in chat completions
                **self._body,
                **params_of(request, self._body),
                "model": request.model,
                "input": input_of(request),
                "stream": True,
            },
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader()


class _AnswerReader:
    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # output index → which call that is
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        told = _decode(event.data)
        match told.type:
            case "response.output_text.delta" | "response.refusal.delta":
                yield TextDelta(told.delta or "")
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                yield ReasoningDelta(told.delta or "")
            case "response.output_item.added" if (told.item or {}).get("type") == "function_call":
                yield self._begun(told.output_index, told.item or {})
            case "response.function_call_arguments.delta" if told.output_index in self._calls:
                index = self._calls[told.output_index]
                yield ToolCallDelta([{"index": index, "function": {"arguments": told.delta or ""}}])
            case "response.completed" | "response.incomplete":
                yield from self._end(told.response or {})
            case "response.failed":
                raise UpstreamStreamError(msgspec.json.encode(told.response or {}))
            case "error":
                raise UpstreamStreamError(event.data)
            case _:
                pass

    def _begun(self, output_index: int, item: dict[str, Any]) -> ToolCallDelta:
        index = self._calls.setdefault(output_index, len(self._calls))
        function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
        id_ = item.get("call_id")
        return ToolCallDelta(
            [{"index": index, "id": id_, "type": "function", "function": function}]
        )

    def _end(self, response: dict[str, Any]) -> Iterator[StreamPart]:
        details = response.get("incomplete_details")
        if isinstance(details, dict):
            reason = str(details.get("reason") or "length")
            self.finish_reason = _REASONS.get(reason, reason)
        else:
            self.finish_reason = "tool_calls" if self._calls else "stop"
        self.done = True
        yield from usage_of(response.get("usage"))
