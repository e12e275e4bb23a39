"""OpenAI's Responses API: the events of a response.

Source: platform.openai.com, API reference, "Responses: streaming events". An answer is complete at
`response.completed` or `response.incomplete`; there is no `[DONE]`. The request is built in
openai_responses_request.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
)
from hub.upstreams.framing import SSE
from hub.upstreams.openai_responses_request import build_input, build_params

_FINISH_REASONS: Final = {"max_output_tokens": "length"}


class _StreamEvent(msgspec.Struct, gc=False):
    type: str
    delta: str | None = None
    output_index: int = 0
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class OpenAiResponses:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "openai-responses"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = "/responses"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
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

    def new_reader(self) -> _ResponseReader:
        return _ResponseReader()


class _ResponseReader:
    """Implements ResponseReader for streaming events of the Responses API."""

    def __init__(self) -> None:
        self._tool_calls: dict[int, int] = {}  # output index → index of the tool call, from 0
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        data = _decode_event(event.data)
        match data.type:
            case "response.output_text.delta" | "response.refusal.delta":
                yield TextDelta(data.delta or "")
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                yield ReasoningDelta(data.delta or "")
            case "response.output_item.added" if (data.item or {}).get("type") == "function_call":
                yield self._read_function_call(data.output_index, data.item or {})
            case "response.function_call_arguments.delta" if data.output_index in self._tool_calls:
                index = self._tool_calls[data.output_index]
                yield ToolCallDelta([{"index": index, "function": {"arguments": data.delta or ""}}])
            case "response.completed" | "response.incomplete":
                yield from self._read_end(data.response or {})
            case "response.failed":
                raise UpstreamStreamError(msgspec.json.encode(data.response or {}))
            case "error":
                raise UpstreamStreamError(event.data)
            case _:
                pass

    def _read_function_call(self, output_index: int, item: dict[str, Any]) -> ToolCallDelta:
        index = self._tool_calls.setdefault(output_index, len(self._tool_calls))
        function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
        id_ = item.get("call_id")
        return ToolCallDelta(
            [{"index": index, "id": id_, "type": "function", "function": function}]
        )

    def _read_end(self, response: dict[str, Any]) -> Iterator[StreamPart]:
        details = response.get("incomplete_details")
        if isinstance(details, dict):
            reason = str(details.get("reason") or "length")
            self.finish_reason = _FINISH_REASONS.get(reason, reason)
        else:
            self.finish_reason = "tool_calls" if self._tool_calls else "stop"
        self.done = True
        yield from convert_usage(response.get("usage"))
