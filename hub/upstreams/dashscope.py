"""DashScope's own text generation (Qwen and others).

Source: Alibaba Cloud Model Studio, "DashScope API reference". The finish reason is the text "null"
until there is one. `incremental_output` says whether an event has what is new or all so far. It is
always said: its default differs between models, and those that think take nothing but true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.cumulative import Cumulative
from hub.core.generation import Question
from hub.core.piece import Piece, Reasoning, Replaced, Text, ToolCalls
from hub.core.sse_decoder import ServerSentEvent
from hub.core.tool_calls import ToolCallSlots
from hub.errors import UpstreamError
from hub.upstreams.chat_messages import Call, Turn, text_of, turns_of, unsupported
from hub.upstreams.chat_params import choice_of, renamed, said, tools_of
from hub.upstreams.http import Asking
from hub.upstreams.reading import SSE, ToldError, usage_of


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


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


_NAMES: Final = {"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens"}
_HINTS: Final = frozenset(
    {"user", "store", "metadata", "logit_bias", "modalities", "prediction", "service_tier",
     "stream_options", "verbosity", "safety_identifier", "prompt_cache_key",
     "prompt_cache_options", "prompt_cache_retention", "incremental_output"}
)  # fmt: skip
_decode = msgspec.json.Decoder(_Event).decode


class DashScope:
    """Implements Dialect. body: of every request's `parameters`, beside the question's own; with
    `incremental_output` false, events are asked for and read as all so far.
    """

    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = {"result_format": "message", "incremental_output": True, **body}

    def ask(self, question: Question) -> Asking:
        return Asking(
            path="/services/aigc/text-generation/generation",
            headers={"X-DashScope-SSE": "enable"},
            body={
                "model": question.model,
                "input": {"messages": [_message(turn) for turn in turns_of(question)]},
                "parameters": {**self._body, **_params(question)},
            },
        )

    def answer(self) -> _Answer:
        return _Answer(incremental=bool(self._body["incremental_output"]))


def _params(question: Question) -> dict[str, Any]:
    """In OpenAI's words but one. Raises UpstreamError."""
    params = said(question.params)
    tools_of(params)  # readable
    if choice_of(params) == "required":
        raise unsupported("DashScope knows no tool_choice of required: name a function")
    return renamed(params, _NAMES, _HINTS)


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": text_of(turn)}
    if turn.calls:
        message["tool_calls"] = [_asked(call) for call in turn.calls]
    if turn.role == "tool":
        message |= {"tool_call_id": turn.answers, "name": turn.tool}
    return {name: value for name, value in message.items() if value is not None}


def _asked(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


_NewText = Callable[[str], Text | Replaced | None]
_NewCalls = Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]


class _Answer:
    def __init__(self, *, incremental: bool) -> None:
        self._text: _NewText = _said_anew if incremental else Cumulative().grown_to
        self._thought: _NewText = _said_anew if incremental else Cumulative().grown_to
        self._calls: _NewCalls = ToolCallSlots().placed if incremental else _Calls().grown_to
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Piece]:
        told = _decode(event.data)
        if event.name == "error" or (told.output is None and told.code):
            raise ToldError(event.data)
        output = told.output or _Output()
        choice = output.choices[0] if output.choices else _Choice()
        said = choice.message or _Said()
        thought = self._thought(said.reasoning_content or "")
        if isinstance(thought, Text):
            yield Reasoning(thought.text)
        piece = self._text(output.text or said.content or "")
        if piece is not None:
            yield piece
        if calls := self._calls(said.tool_calls or ()):
            yield ToolCalls([*calls])
        yield from usage_of(told.usage)
        reason = choice.finish_reason or output.finish_reason
        if reason and reason != "null":
            self.finish_reason = reason


def _said_anew(text: str) -> Text | None:
    return Text(text) if text else None


class _Calls:
    """What is new of tool calls that each event repeats whole."""

    def __init__(self) -> None:
        self._arguments: list[Cumulative] = []

    def grown_to(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """In OpenAI's delta form. Raises UpstreamError for what takes back what was said."""
        return [*self._grown(calls)]

    def _grown(self, calls: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(calls):
            given = call.get("function")
            function = given if isinstance(given, dict) else {}
            piece: dict[str, Any] = {}
            if index == len(self._arguments):
                self._arguments.append(Cumulative())
                piece = {"id": call.get("id"), "type": "function"}
                named = {"name": function.get("name")}
            else:
                named = {}
            said = self._arguments[index].grown_to(str(function.get("arguments") or ""))
            if isinstance(said, Replaced):
                message = "the upstream rewrote the arguments of a tool call"
                raise UpstreamError("upstream_protocol", message, retryable=False)
            if piece or said:
                told = {**named, "arguments": said.text if said else ""}
                yield {"index": index, **piece, "function": told}
