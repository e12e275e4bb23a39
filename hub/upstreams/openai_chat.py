"""OpenAI's chat completions over SSE, and the servers that speak the same: vLLM, Xinference,
llama.cpp, Ollama's /v1, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` arrived; `[DONE]` alone does not complete it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta, Usage
from hub.core.tool_calls import ToolCallIndexer
from hub.upstreams.dialect import BEARER, AuthHeader, UpstreamRequest, UpstreamStreamError
from hub.upstreams.framing import SSE


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class OpenAiChat:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "openai"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = "/chat/completions"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        return UpstreamRequest(
            body={
                **self._body,
                **request.params,
                "stream_options": self._body.get("stream_options", {"include_usage": True}),
                "model": request.model,
                "messages": request.messages,
                "stream": True,
            },
        )

    def new_reader(self) -> _ChunkReader:
        return _ChunkReader()


class _ChunkReader:
    """Implements ResponseReader for chat.completion.chunk objects."""

    def __init__(self) -> None:
        self._tool_calls = ToolCallIndexer()
        self._has_refusal = False
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> list[StreamPart]:
        if event.data.startswith("[DONE]"):
            self.done = True
            return []
        chunk = _decode_chunk(event.data)
        if chunk.error is not None:
            raise UpstreamStreamError(event.data)
        parts: list[StreamPart] = []
        for choice in chunk.choices or ():
            if choice.index == 0:  # with n > 1 there are other answers; a generation has one
                parts += self._read_choice(choice)
        if chunk.usage:
            parts.append(Usage(chunk.usage))
        return parts

    def _read_choice(self, choice: _Choice) -> Iterator[StreamPart]:
        delta = choice.delta
        if delta is not None:
            if reasoning := delta.reasoning_content or delta.reasoning:
                yield ReasoningDelta(reasoning)
            if text := delta.content or delta.refusal:
                self._has_refusal = self._has_refusal or bool(delta.refusal)
                yield TextDelta(text)
            if delta.tool_calls:
                yield ToolCallDelta(self._tool_calls.assign(delta.tool_calls))
        if choice.finish_reason:
            self.finish_reason = "refusal" if self._has_refusal else choice.finish_reason
