"""Anthropic's Messages API: the events of a response.

Source: docs.claude.com, "Streaming messages". An answer is complete when a `stop_reason` arrived;
`message_stop` follows it. Unknown events are skipped, as the vendor demands. Usage in
`message_delta` is cumulative. Signatures of thinking blocks are not passed on. The request is built
in anthropic_request.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta
from hub.upstreams.anthropic_request import build_conversation, build_params
from hub.upstreams.dialect import AuthHeader, UpstreamRequest, UpstreamStreamError, convert_usage
from hub.upstreams.framing import SSE

_VERSION: Final = "2023-06-01"
_MAX_TOKENS: Final = 4096  # the API requires the field; parameters override the number
_FINISH_REASONS: Final = {
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


class _StreamEvent(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class AnthropicMessages:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "anthropic"
    auth_header: ClassVar[AuthHeader] = AuthHeader("x-api-key")
    path = "/messages"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        conversation = build_conversation(request)
        return UpstreamRequest(
            headers={"anthropic-version": _VERSION},
            body={
                "max_tokens": _MAX_TOKENS,
                **conversation,
                **self._body,
                **build_params(request, self._body),
                "model": request.model,
                "messages": conversation["messages"],
                "stream": True,
            },
        )

    def new_reader(self) -> _MessageReader:
        return _MessageReader()


class _MessageReader:
    """Implements ResponseReader for the events of a streamed message."""

    def __init__(self) -> None:
        self._tool_calls: dict[int, int] = {}  # index of the block → index of the call, from 0
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        data = _decode_event(event.data)
        delta = data.delta or _Delta()
        match data.type:
            case "content_block_delta":
                yield from self._read_block_delta(data.index, delta)
            case "content_block_start":
                yield from self._read_block_start(data.index, data.content_block or {})
            case "message_start":
                yield from convert_usage((data.message or {}).get("usage"))
            case "message_delta":
                if delta.stop_reason is not None:
                    self.finish_reason = _FINISH_REASONS.get(delta.stop_reason, delta.stop_reason)
                yield from convert_usage(data.usage)
            case "message_stop":
                self.done = True
            case "error":
                raise UpstreamStreamError(event.data)
            case _:
                pass

    def _read_block_start(self, block_index: int, block: dict[str, Any]) -> Iterator[StreamPart]:
        if block.get("type") == "tool_use":
            index = self._tool_calls.setdefault(block_index, len(self._tool_calls))
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": index, "id": block.get("id"), "type": "function"}
            yield ToolCallDelta([{**call, "function": function}])
        elif isinstance(text := block.get("text"), str) and text:
            yield TextDelta(text)

    def _read_block_delta(self, block_index: int, delta: _Delta) -> Iterator[StreamPart]:
        if delta.text:
            yield TextDelta(delta.text)
        if delta.thinking:
            yield ReasoningDelta(delta.thinking)
        if delta.partial_json and block_index in self._tool_calls:
            function = {"arguments": delta.partial_json}
            yield ToolCallDelta([{"index": self._tool_calls[block_index], "function": function}])
