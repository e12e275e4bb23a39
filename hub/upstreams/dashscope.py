"""DashScope's own text generation (Qwen and others), whose events repeat the whole text so far.

Source: Alibaba Cloud Model Studio, "DashScope API reference". The finish reason is the text "null"
until there is one. What `incremental_output` asks for some models ignore: it is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hub.core.cumulative import Cumulative
from hub.core.generation import Question
from hub.core.piece import Piece, Reasoning, Text
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.http import Asking
from hub.upstreams.reading import SSE, ToldError, usage_of


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said | None = None
    finish_reason: str | None = None


class _Output(msgspec.Struct, gc=False):
    text: str | None = None
    finish_reason: str | None = None
    choices: list[_Choice] | None = None


class _Event(msgspec.Struct, gc=False):
    output: _Output | None = None
    usage: dict[str, Any] | None = None
    code: str | None = None


_decode = msgspec.json.Decoder(_Event).decode


class DashScope:
    """Implements Dialect. body: of every request's `parameters`, beside the question's own."""

    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def ask(self, question: Question) -> Asking:
        return Asking(
            path="/services/aigc/text-generation/generation",
            headers={"X-DashScope-SSE": "enable"},
            body={
                "model": question.model,
                "input": {"messages": question.messages},
                "parameters": {"result_format": "message", **self._body, **question.params},
            },
        )

    def answer(self) -> _Answer:
        return _Answer()


class _Answer:
    def __init__(self) -> None:
        self._text = Cumulative()
        self._thought = Cumulative()
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Piece]:
        told = _decode(event.data)
        if event.name == "error" or (told.output is None and told.code):
            raise ToldError(event.data)
        output = told.output or _Output()
        choice = output.choices[0] if output.choices else _Choice()
        said = choice.message or _Said()
        thought = self._thought.grown_to(said.reasoning_content or "")
        if isinstance(thought, Text):
            yield Reasoning(thought.text)
        piece = self._text.grown_to(output.text or said.content or "")
        if piece is not None:
            yield piece
        yield from usage_of(told.usage)
        reason = choice.finish_reason or output.finish_reason
        if reason and reason != "null":
            self.finish_reason = reason
