"""OpenAI's chat completions over SSE, and the servers that speak the same: vLLM, Xinference,
llama.cpp, Ollama's /v1, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` arrived; `[DONE]` alone does not complete it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from hub.core.finish_reasons import normalise_finish_reason
from hub.core.generation import GenerationRequest, Message
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import (
    ReasoningDelta,
    ReasoningDetails,
    StreamPart,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from hub.upstreams.content import AnnotationReader, Text, read_content, read_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    is_error,
)
from hub.upstreams.framing import SSE


class _Delta(msgspec.Struct, gc=False):
    content: Text = None
    reasoning_content: Text = None
    reasoning: Text = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: dict[str, Any] | None = None
    citations: list[Any] | None = None
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
                "messages": [_build_message(message) for message in request.messages],
                "stream": True,
            },
        )

    def new_reader(self) -> _ChunkReader:
        return _ChunkReader()


def _build_message(message: Message) -> dict[str, Any]:
    """Return the message, always with `content`: some servers refuse a message without it."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return {"content": None, **fields}


class _ChunkReader:
    """Implements ResponseReader for chat.completion.chunk objects.

    A choice that has the whole message instead of a delta is read if nothing came before it.
    """

    event_type: ClassVar[Any] = _Chunk
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = False

    def __init__(self) -> None:
        self._annotations = AnnotationReader()
        self._has_content = False
        self._has_refusal = False
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> list[StreamPart]:
        chunk = _decode_chunk(event.data)
        if chunk.error is not None and is_error(chunk.error):
            raise UpstreamStreamError(event.data)
        parts: list[StreamPart] = []
        usage = chunk.usage
        for choice in chunk.choices or ():
            if not choice.index:  # with n > 1 there are other answers; a generation has one
                self._read_choice(choice, parts)
                usage = usage or choice.usage
        if chunk.citations:
            parts += self._annotations.read(chunk.citations)
        if chunk.x_groq is not None and isinstance(groq_usage := chunk.x_groq.get("usage"), dict):
            usage = usage or groq_usage
        if usage:
            parts.append(Usage(usage))
        return parts

    def _read_choice(self, choice: _Choice, parts: list[StreamPart]) -> None:
        if choice.delta is not None:
            self._read_delta(choice.delta, parts)
        if choice.message is not None and not self._has_content:
            self._read_delta(choice.message, parts)
        if choice.finish_reason and (reason := normalise_finish_reason(choice.finish_reason)):
            self.finish_reason = "refusal" if self._has_refusal else reason

    def _read_delta(self, delta: _Delta, parts: list[StreamPart]) -> None:
        if (reasoning := delta.reasoning_content or delta.reasoning) and read_text(reasoning):
            parts.append(ReasoningDelta(read_text(reasoning)))
        if delta.reasoning_details:
            parts.append(ReasoningDetails(delta.reasoning_details))
        if text := delta.content or delta.refusal:
            self._has_content = True
            if delta.refusal:
                self._has_refusal = True
            if type(text) is str:
                parts.append(TextDelta(text))
            else:
                parts += read_content(text)
        if delta.tool_calls or delta.function_call:
            self._has_content = True
            parts.append(ToolCallDelta(delta.tool_calls or [_legacy_call(delta)]))
        if delta.annotations:
            parts += self._annotations.read(delta.annotations)


def _legacy_call(delta: _Delta) -> dict[str, Any]:
    """Return `function_call`, which tools have replaced, as the delta of a tool call."""
    return {"index": 0, "function": delta.function_call}
