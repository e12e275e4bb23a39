"""OpenAI's chat completions over SSE, and the servers that speak the same: vLLM, Xinference,
llama.cpp, Ollama's /v1, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` arrived; `[DONE]` alone does not complete it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from hub.core.finish_reasons import latest_reason, normalise_finish_reason
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import (
    Part,
    Reasoning,
    ReasoningDetails,
    Text,
    ToolCallDelta,
)
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.content import AnnotationReader, ContentText, read_content, read_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
    is_error,
)
from hub.upstreams.framing import SSE


class _Delta(msgspec.Struct, gc=False):
    content: ContentText = None
    reasoning_content: ContentText = None
    reasoning: ContentText = None
    reasoning_text: Any = None  # these three: other names for the reasoning, or a flag
    thinking: Any = None
    reasoning_or_flag: Any = msgspec.field(default=None, name="thought")
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[Any] | None = None
    usage: dict[str, Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: ContentText = None  # of the older completions
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


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

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
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

    def new_reader(self, request: GenerationRequest | None = None) -> _ChunkReader:
        return _ChunkReader()


def _build_message(message: Message) -> dict[str, Any]:
    """Return the message, always with `content`: some servers refuse a message without it."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return {"content": None, **fields}


class _ChunkReader:
    """Implements ResponseReader for chat.completion.chunk objects.

    A choice may have a message instead of a delta: the whole answer, its text so far, or more text.
    It is not read after deltas, which it repeats.
    """

    event_type: ClassVar[Any] = _Chunk
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = False

    def __init__(self) -> None:
        self._annotations = AnnotationReader()
        self._has_content = False  # whether a delta had any
        self._has_reasoning = False  # whether a field other than the details had any
        self._has_refusal = False
        self._messages: dict[type[Part], str] = {}  # the text of messages, by its kind
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> list[Part]:
        chunk = _decode_chunk(event.data)
        if chunk.error is not None and is_error(chunk.error):
            raise UpstreamStreamError(event.data)
        parts: list[Part] = []
        usage = chunk.usage
        for choice in chunk.choices or ():
            if not choice.index:  # with n > 1 there are other answers; a generation has one
                self._read_choice(choice, parts)
                usage = usage or choice.usage or (choice.delta.usage if choice.delta else None)
        if chunk.citations:
            parts += self._annotations.read(chunk.citations)
        if chunk.x_groq is not None:
            if chunk.x_groq.get("error"):  # why the stream stops early
                raise UpstreamStreamError(msgspec.json.encode(chunk.x_groq))
            groq_usage = chunk.x_groq.get("usage")
            usage = usage or (groq_usage if isinstance(groq_usage, dict) else None)
        if usage:
            parts += convert_usage(usage)
        return parts

    def _read_choice(self, choice: _Choice, parts: list[Part]) -> None:
        if choice.error is not None and is_error(choice.error):
            raise UpstreamStreamError(msgspec.json.encode(choice.error))
        if choice.delta is not None and self._read_delta(choice.delta, parts):
            self._has_content = True
        if choice.message is not None and not self._has_content:
            parts += self._read_message(choice.message)
        if choice.text and not self._has_content:
            parts += read_content(choice.text)
        if choice.finish_reason and (reason := normalise_finish_reason(choice.finish_reason)):
            reason = "refusal" if self._has_refusal else reason
            self.finish_reason = latest_reason(self.finish_reason, reason)

    def _read_message(self, message: _Delta) -> Iterator[Part]:
        """Yield what is new in a message."""
        parts: list[Part] = []
        self._read_delta(message, parts)
        for part in parts:
            if isinstance(part, Text | Reasoning):
                kind, known = type(part), self._messages.get(type(part), "")
                is_whole = part.text.startswith(known)
                self._messages[kind] = part.text if is_whole else known + part.text
                if new := part.text.removeprefix(known) if is_whole else part.text:
                    yield kind(new)
            else:
                yield part

    def _read_delta(self, delta: _Delta, parts: list[Part]) -> bool:
        """Append the parts of a delta, and return whether it has text or tool calls."""
        reasoning = (
            delta.reasoning_content
            or delta.reasoning
            or delta.reasoning_text
            or delta.thinking
            or delta.reasoning_or_flag
        )
        if reasoning and (text := read_text(reasoning)):
            self._has_reasoning = True
            parts.append(Reasoning(text))
        if delta.reasoning_details:
            if not self._has_reasoning and (text := _text_of(delta.reasoning_details)):
                parts.append(Reasoning(text))
            parts.append(ReasoningDetails(delta.reasoning_details))
        if content := delta.content or delta.refusal:
            if delta.refusal:
                self._has_refusal = True
            if type(content) is str:
                parts.append(Text(content))
            else:
                parts += read_content(content)
        has_calls = bool(delta.tool_calls or delta.function_call)
        if has_calls:
            parts.append(ToolCallDelta(delta.tool_calls or [_legacy_call(delta)]))
        if delta.annotations:
            parts += self._annotations.read(delta.annotations)
        return has_calls or bool(content)


def _text_of(details: Sequence[dict[str, Any]]) -> str:
    """Return the text of `reasoning_details`. Some servers send the reasoning only there."""
    fields = {"reasoning.text": "text", "reasoning.summary": "summary"}
    return "".join(read_text(each.get(fields.get(str(each.get("type")), ""))) for each in details)


def _legacy_call(delta: _Delta) -> dict[str, Any]:
    """Return `function_call`, which tools have replaced, as the delta of a tool call."""
    return {"index": 0, "function": delta.function_call}
