"""OpenAI's chat completions over SSE, and what speaks the same: vLLM, Xinference, Ollama's /v1,
llama.cpp, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` came; `[DONE]` alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta, Usage
from hub.core.tool_calls import ToolCallIndexer
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import SSE, UpstreamStreamError


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


_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAiChat:
    """Implements Dialect. body: fields of every request beside the question's own."""

    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        return UpstreamRequest(
            path="/chat/completions",
            body={
                **self._body,
                **request.params,
                "stream_options": self._body.get("stream_options", {"include_usage": True}),
                "model": request.model,
                "messages": request.messages,
                "stream": True,
            },
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader()


class _AnswerReader:
    def __init__(self) -> None:
        self._slots = ToolCallIndexer()
        self._refused = False
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> list[StreamPart]:
        if event.data.startswith("[DONE]"):
            self.done = True
            return []
        chunk = _decode(event.data)
        if chunk.error is not None:
            raise UpstreamStreamError(event.data)
        pieces: list[StreamPart] = []
        for choice in chunk.choices or ():
            if choice.index == 0:  # with n > 1 there are more answers; a channel shows one
                pieces += self._choice(choice)
        if chunk.usage:
            pieces.append(Usage(chunk.usage))
        return pieces

    def _choice(self, choice: _Choice) -> Iterator[StreamPart]:
        delta = choice.delta
        if delta is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                yield ReasoningDelta(thought)
            if text := delta.content or delta.refusal:
                self._refused = self._refused or bool(delta.refusal)
                yield TextDelta(text)
            if delta.tool_calls:
                yield ToolCallDelta(self._slots.assign(delta.tool_calls))
        if choice.finish_reason:
            self.finish_reason = "refusal" if self._refused else choice.finish_reason
