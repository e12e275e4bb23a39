"""Anthropic's Messages events.

Source: docs.claude.com, "Streaming messages". An answer is complete when a `stop_reason` came;
`message_stop` follows it. Unknown events are skipped, as the vendor asks. Usage in `message_delta`
is cumulative. Signatures of thinking are not passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta
from hub.upstreams.anthropic_request import conversation_of, params_of
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import SSE, UpstreamStreamError, usage_of

_VERSION: Final = "2023-06-01"
_MAX_TOKENS: Final = 4096  # the API wants a number; params say another
_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Event).decode


class AnthropicMessages:
    """Implements Dialect. body: fields of every request beside the question's own."""

    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        conversation = conversation_of(request)
        return UpstreamRequest(
            path="/messages",
            headers={"anthropic-version": _VERSION},
            body={
                "max_tokens": _MAX_TOKENS,
                **conversation,
                **self._body,
                **params_of(request, self._body),
                "model": request.model,
                "messages": conversation["messages"],
                "stream": True,
            },
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader()


class _AnswerReader:
    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # content block → which call that is
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        told = _decode(event.data)
        delta = told.delta or _Delta()
        match told.type:
            case "content_block_delta":
                yield from self._delta(told.index, delta)
            case "content_block_start":
                yield from self._begun(told.index, told.content_block or {})
            case "message_start":
                yield from usage_of((told.message or {}).get("usage"))
            case "message_delta":
                if delta.stop_reason is not None:
                    self.finish_reason = _REASONS.get(delta.stop_reason, delta.stop_reason)
                yield from usage_of(told.usage)
            case "message_stop":
                self.done = True
            case "error":
                raise UpstreamStreamError(event.data)
            case _:
                pass

    def _delta(self, block: int, delta: _Delta) -> Iterator[StreamPart]:
        if delta.text:
            yield TextDelta(delta.text)
        if delta.thinking:
            yield ReasoningDelta(delta.thinking)
        if delta.partial_json and block in self._calls:
            function = {"arguments": delta.partial_json}
            yield ToolCallDelta([{"index": self._calls[block], "function": function}])

    def _begun(self, block: int, content: dict[str, Any]) -> Iterator[StreamPart]:
        if content.get("type") == "tool_use":
            index = self._calls.setdefault(block, len(self._calls))
            function = {"name": content.get("name"), "arguments": ""}
            call = {"index": index, "id": content.get("id"), "type": "function"}
            yield ToolCallDelta([{**call, "function": function}])
        elif isinstance(text := content.get("text"), str) and text:
            yield TextDelta(text)
