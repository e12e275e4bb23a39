"""DashScope's own text generation (Qwen and others).

Source: Alibaba Cloud Model Studio, "DashScope API reference". The finish reason is the text "null"
until there is one. `incremental_output` says whether an event has what is new or all so far. It is
always said: its default differs between models, and those that think take nothing but true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.cumulative_text import CumulativeText
from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, TextReplaced, ToolCallDelta
from hub.core.tool_calls import ToolCallIndexer
from hub.errors import UpstreamError
from hub.upstreams.chat_messages import Call, ChatTurn, parse_turns, text_of, unsupported
from hub.upstreams.chat_params import choice_of, given_params, renamed, tools_of
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import SSE, UpstreamStreamError, usage_of


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

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        return UpstreamRequest(
            path="/services/aigc/text-generation/generation",
            headers={"X-DashScope-SSE": "enable"},
            body={
                "model": request.model,
                "input": {"messages": [_message(turn) for turn in parse_turns(request)]},
                "parameters": {**self._body, **_params(request)},
            },
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader(incremental=bool(self._body["incremental_output"]))


def _params(question: GenerationRequest) -> dict[str, Any]:
    """In OpenAI's words but one. Raises UpstreamError."""
    params = given_params(question.params)
    tools_of(params)  # readable
    if choice_of(params) == "required":
        raise unsupported("DashScope knows no tool_choice of required: name a function")
    return renamed(params, _NAMES, _HINTS)


def _message(turn: ChatTurn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": text_of(turn)}
    if turn.calls:
        message["tool_calls"] = [_asked(call) for call in turn.calls]
    if turn.role == "tool":
        message |= {"tool_call_id": turn.answers, "name": turn.tool}
    return {name: value for name, value in message.items() if value is not None}


def _asked(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


_NewText = Callable[[str], TextDelta | TextReplaced | None]
_NewCalls = Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]


class _AnswerReader:
    def __init__(self, *, incremental: bool) -> None:
        self._text: _NewText = _said_anew if incremental else CumulativeText().update
        self._thought: _NewText = _said_anew if incremental else CumulativeText().update
        self._calls: _NewCalls = ToolCallIndexer().assign if incremental else _Calls().grown_to
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        told = _decode(event.data)
        if event.name == "error" or (told.output is None and told.code):
            raise UpstreamStreamError(event.data)
        output = told.output or _Output()
        choice = output.choices[0] if output.choices else _Choice()
        said = choice.message or _Said()
        thought = self._thought(said.reasoning_content or "")
        if isinstance(thought, TextDelta):
            yield ReasoningDelta(thought.text)
        piece = self._text(output.text or said.content or "")
        if piece is not None:
            yield piece
        if calls := self._calls(said.tool_calls or ()):
            yield ToolCallDelta([*calls])
        yield from usage_of(told.usage)
        reason = choice.finish_reason or output.finish_reason
        if reason and reason != "null":
            self.finish_reason = reason


def _said_anew(text: str) -> TextDelta | None:
    return TextDelta(text) if text else None


class _Calls:
    """What is new of tool calls that each event repeats whole."""

    def __init__(self) -> None:
        self._arguments: list[CumulativeText] = []

    def grown_to(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """In OpenAI's delta form. Raises UpstreamError for what takes back what was said."""
        return [*self._grown(calls)]

    def _grown(self, calls: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(calls):
            given = call.get("function")
            function = given if isinstance(given, dict) else {}
            piece: dict[str, Any] = {}
            if index == len(self._arguments):
                self._arguments.append(CumulativeText())
                piece = {"id": call.get("id"), "type": "function"}
                named = {"name": function.get("name")}
            else:
                named = {}
            said = self._arguments[index].update(str(function.get("arguments") or ""))
            if isinstance(said, TextReplaced):
                message = "the upstream rewrote the arguments of a tool call"
                raise UpstreamError("upstream_protocol", message, retryable=False)
            if piece or said:
                told = {**named, "arguments": said.text if said else ""}
                yield {"index": index, **piece, "function": told}
