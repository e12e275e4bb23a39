"""OpenAI's chat completions over SSE, and what speaks the same: vLLM, Xinference, Ollama's /v1,
llama.cpp, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` came; `[DONE]` alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hub.core.generation import Question
from hub.core.piece import Piece, Reasoning, Text, ToolCalls, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.core.tool_calls import ToolCallSlots
from hub.upstreams.http import Asking
from hub.upstreams.reading import SSE, ToldError


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

    def ask(self, question: Question) -> Asking:
        return Asking(
            path="/chat/completions",
            body={
                **self._body,
                **question.params,
                "stream_options": self._body.get("stream_options", {"include_usage": True}),
                "model": question.model,
                "messages": question.messages,
                "stream": True,
            },
        )

    def answer(self) -> _Answer:
        return _Answer()


class _Answer:
    def __init__(self) -> None:
        self._slots = ToolCallSlots()
        self._refused = False
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> list[Piece]:
        if event.data.startswith("[DONE]"):
            self.done = True
            return []
        chunk = _decode(event.data)
        if chunk.error is not None:
            raise ToldError(event.data)
        pieces: list[Piece] = []
        for choice in chunk.choices or ():
            if choice.index == 0:  # with n > 1 there are more answers; a channel shows one
                pieces += self._choice(choice)
        if chunk.usage:
            pieces.append(Usage(chunk.usage))
        return pieces

    def _choice(self, choice: _Choice) -> Iterator[Piece]:
        delta = choice.delta
        if delta is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                yield Reasoning(thought)
            if text := delta.content or delta.refusal:
                self._refused = self._refused or bool(delta.refusal)
                yield Text(text)
            if delta.tool_calls:
                yield ToolCalls(self._slots.placed(delta.tool_calls))
        if choice.finish_reason:
            self.finish_reason = "refusal" if self._refused else choice.finish_reason
