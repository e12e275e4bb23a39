"""Ollama's own chat: newline-delimited JSON.

Source: Ollama's docs/api.md, "Generate a chat completion", and docs/errors: an error is a line of
its own, under status 200. An answer is complete at `"done": true`. Tool calls come whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import Question
from hub.core.piece import Piece, Reasoning, Text, ToolCalls, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.http import Asking
from hub.upstreams.reading import NDJSON, ToldError

_OPTIONS: Final = {"max_tokens": "num_predict"}  # where OpenAI calls them otherwise
_BESIDE_OPTIONS: Final = frozenset({"format", "keep_alive", "think", "tools"})


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Said | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class OllamaChat:
    """Implements Dialect. body: fields of every request beside the question's own."""

    framing = NDJSON

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def ask(self, question: Question) -> Asking:
        params = question.params
        options = {
            _OPTIONS.get(name, name): value
            for name, value in params.items()
            if name not in _BESIDE_OPTIONS
        }
        return Asking(
            path="/api/chat",
            body={
                **self._body,
                **{name: params[name] for name in _BESIDE_OPTIONS & params.keys()},
                **({"options": options} if options else {}),
                "model": question.model,
                "messages": question.messages,
                "stream": True,
            },
        )

    def answer(self) -> _Answer:
        return _Answer()


class _Answer:
    def __init__(self) -> None:
        self._calls = 0
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Piece]:
        line = _decode(event.data)
        if line.error is not None:
            raise ToldError(event.data)
        said = line.message or _Said()
        if said.thinking:
            yield Reasoning(said.thinking)
        if said.content:
            yield Text(said.content)
        if said.tool_calls:
            yield ToolCalls([self._call(call) for call in said.tool_calls])
        if line.done:
            if line.prompt_eval_count is not None or line.eval_count is not None:
                tokens = {"prompt_tokens": line.prompt_eval_count or 0}
                yield Usage({**tokens, "completion_tokens": line.eval_count or 0})
            self.finish_reason = "tool_calls" if self._calls else line.done_reason or "stop"
            self.done = True

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        """In OpenAI's form, whose arguments are text."""
        given = call.get("function")
        function = dict(given) if isinstance(given, dict) else {}
        if not isinstance(function.get("arguments"), str):
            function["arguments"] = msgspec.json.encode(function.get("arguments") or {}).decode()
        index, self._calls = self._calls, self._calls + 1
        return {"index": index, "id": call.get("id"), "type": "function", "function": function}
