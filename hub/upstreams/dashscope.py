"""DashScope's own text generation API (Qwen and others).

Source: Alibaba Cloud Model Studio, "DashScope API reference". The finish reason is the text "null"
until there is one. `incremental_output` decides whether an event holds the new text or all text so
far. It is always sent: its default differs between models, and reasoning models accept only true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from hub.core.cumulative_text import CumulativeText
from hub.core.finish_reasons import normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Reasoning, Replace, Text, ToolCallDelta
from hub.core.sse_decoder import ServerSentEvent
from hub.errors import UpstreamError
from hub.upstreams.chat_messages import (
    ChatMessage,
    ToolCall,
    parse_messages,
    require_text,
    unsupported,
)
from hub.upstreams.chat_params import filter_params, parse_tool_choice, parse_tools, rename_params
from hub.upstreams.content import ContentText, read_content, read_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
)
from hub.upstreams.framing import SSE


class _Message(msgspec.Struct, gc=False):
    content: ContentText = None
    reasoning_content: ContentText = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None


class _Output(msgspec.Struct, gc=False):
    text: ContentText = None
    finish_reason: str | None = None
    choices: list[_Choice] | None = None


class _Response(msgspec.Struct, gc=False):
    output: _Output | None = None
    usage: dict[str, Any] | None = None
    code: Any = None


_NAMES: Final = {"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens"}
# Parameters without a counterpart. They are hints, so they are left out without an error.
_DROPPED: Final = frozenset(
    {"user", "store", "metadata", "logit_bias", "modalities", "prediction", "service_tier",
     "stream_options", "verbosity", "safety_identifier", "prompt_cache_key",
     "prompt_cache_options", "prompt_cache_retention", "incremental_output"}
)  # fmt: skip
_decode_response = msgspec.json.Decoder(_Response).decode


class DashScope:
    """Implements Dialect.

    body: fields of `parameters` in every request; parameters of a request override them, except
    `incremental_output`: with false the API sends all text so far in each event.
    """

    kind: ClassVar[str] = "dashscope"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = "/services/aigc/text-generation/generation"
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = {"result_format": "message", "incremental_output": True, **body}

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        messages = [_build_message(message) for message in parse_messages(request)]
        return UpstreamRequest(
            headers={"X-DashScope-SSE": "enable"},
            body={
                "model": request.model,
                "input": {"messages": messages},
                "parameters": {**self._body, **_build_params(request)},
            },
        )

    def new_reader(self, request: GenerationRequest | None = None) -> _GenerationReader:
        return _GenerationReader(incremental=bool(self._body["incremental_output"]))


def _build_params(request: GenerationRequest) -> dict[str, Any]:
    """Return the parameters, whose names are OpenAI's with one exception. Raise UpstreamError."""
    params = filter_params(request.params)
    parse_tools(params)  # only to refuse what is invalid: the form is the same
    if parse_tool_choice(params) == "required":
        raise unsupported("DashScope does not support tool_choice required; name a function")
    return rename_params(params, _NAMES, _DROPPED)


def _build_message(message: ChatMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": require_text(message)}
    if message.reasoning and message.role == "assistant":
        fields["reasoning_content"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [_build_tool_call(call) for call in message.tool_calls]
    if message.role == "tool":
        fields |= {"tool_call_id": message.tool_call_id, "name": message.tool_name}
    return {name: value for name, value in fields.items() if value is not None}


def _build_tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


_ReadText = Callable[[str], Text | Replace | None]
_ReadToolCalls = Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]


class _GenerationReader:
    """Implements ResponseReader. incremental: whether events hold new text or all text so far."""

    event_type: ClassVar[Any] = _Response
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = False

    def __init__(self, *, incremental: bool) -> None:
        self._read_text: _ReadText = _read_delta if incremental else CumulativeText().update
        self._read_reasoning: _ReadText = _read_delta if incremental else CumulativeText().update
        self._read_tool_calls: _ReadToolCalls = (
            list if incremental else _CumulativeToolCalls().update
        )
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        response = _decode_response(event.data)
        if event.name == "error" or (response.output is None and response.code):
            raise UpstreamStreamError(event.data)
        output = response.output or _Output()
        choice = output.choices[0] if output.choices else _Choice()
        message = choice.message or _Message()
        reasoning_parts, content = _split(message.content)
        reasoning = self._read_reasoning(read_text(message.reasoning_content) or reasoning_parts)
        if isinstance(reasoning, Text):
            yield Reasoning(reasoning.text)
        text = self._read_text(read_text(output.text) or content)
        if text is not None:
            yield text
        if calls := self._read_tool_calls(message.tool_calls or ()):
            yield ToolCallDelta([*calls])
        yield from convert_usage(response.usage)
        word = choice.finish_reason or output.finish_reason or ""
        self.finish_reason = normalise_finish_reason(word) or self.finish_reason


def _split(content: ContentText) -> tuple[str, str]:
    """Return the reasoning and the text of a content."""
    if content is None or isinstance(content, str):
        return "", content or ""
    parts = [*read_content(content)]
    reasoning = "".join(part.text for part in parts if isinstance(part, Reasoning))
    return reasoning, "".join(part.text for part in parts if isinstance(part, Text))


def _read_delta(text: str) -> Text | None:
    return Text(text) if text else None


class _CumulativeToolCalls:
    """Computes the new part of tool calls that each event repeats from their beginning."""

    def __init__(self) -> None:
        self._arguments: list[CumulativeText] = []  # by the index of the call

    def update(self, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the new parts in OpenAI's delta form.

        Raise UpstreamError when the upstream changes arguments that it sent before.
        """
        return [*self._compute_deltas(calls)]

    def _compute_deltas(self, calls: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(calls):
            given = call.get("function")
            function = given if isinstance(given, dict) else {}
            if index == len(self._arguments):
                self._arguments.append(CumulativeText())
            whole = function.get("arguments")
            if whole is not None and not isinstance(whole, str):
                yield {**call, "index": index}
                continue
            arguments = self._arguments[index].update(whole or "")
            if isinstance(arguments, Replace):
                message = "the upstream changed the arguments of a tool call that it sent before"
                raise UpstreamError("upstream_protocol", message, retryable=False)
            new = arguments.text if arguments else ""
            yield {**call, "index": index, "function": {**function, "arguments": new}}
