"""Ollama's own chat API: newline-delimited JSON.

Source: Ollama's docs/api.md, "Generate a chat completion", and docs/errors: an error is a line of
its own, with the status 200. An answer is complete at `"done": true`. A tool call arrives complete
in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.finish_reasons import normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Reasoning, ToolCallDelta, Usage
from hub.core.sse_decoder import ServerSentEvent
from hub.errors import UpstreamError
from hub.upstreams.chat_messages import (
    ChatMessage,
    ImagePart,
    ToolCall,
    parse_data_url,
    parse_messages,
    require_text,
    unsupported,
)
from hub.upstreams.chat_params import (
    filter_params,
    parse_reasoning_effort,
    parse_response_format,
    parse_tool_choice,
    parse_tools,
    rename_params,
)
from hub.upstreams.content import ContentText, read_content, read_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    is_error,
)
from hub.upstreams.framing import NDJSON

_OPTION_NAMES: Final = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}
# Fields of the request that stand beside `options`.
_TOP_LEVEL: Final = frozenset({"format", "keep_alive", "think", "truncate", "shift"})
# Parameters that are converted to other fields, or are hints without a counterpart.
_NOT_OPTIONS: Final = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "n",
     "user", "store", "metadata", "logit_bias", "logprobs", "top_logprobs", "modalities",
     "prediction", "service_tier", "stream_options", "verbosity", "safety_identifier",
     "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)  # fmt: skip
_NO_ANSWERS: Final = ("load", "unload")  # reasons of lines about the model, not about an answer
_EFFORTS: Final = {"none": False, "minimal": "low", "xhigh": "max"}


class _Message(msgspec.Struct, gc=False):
    content: ContentText = None
    thinking: ContentText = None
    tool_calls: list[dict[str, Any]] | None = None


class _ChatResponse(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool | None = False
    done_reason: str | None = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


_decode_response = msgspec.json.Decoder(_ChatResponse).decode


class OllamaChat:
    """Implements Dialect. body: fields of every request; parameters of a request override them."""

    kind: ClassVar[str] = "ollama"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = "/api/chat"
    framing = NDJSON

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        params = filter_params(request.params)
        options = rename_params(params, _OPTION_NAMES, _NOT_OPTIONS | _TOP_LEVEL)
        return UpstreamRequest(
            body={
                **self._body,
                **_build_top_level(params),
                **({"options": options} if options else {}),
                "model": request.model,
                "messages": [_build_message(message) for message in parse_messages(request)],
                "stream": True,
            },
        )

    def new_reader(self, request: GenerationRequest | None = None) -> _ChatReader:
        return _ChatReader()


def _build_top_level(params: dict[str, Any]) -> dict[str, Any]:
    """Return the fields beside `options`. Raise UpstreamError for a tool choice: there is none."""
    fields = {name: params[name] for name in _TOP_LEVEL & params.keys()}
    choice = parse_tool_choice(params)
    if choice not in (None, "auto", "none"):
        raise unsupported("Ollama does not support tool_choice; use auto or none")
    if parse_tools(params) and choice != "none":
        fields["tools"] = params["tools"]
    if effort := parse_reasoning_effort(params):
        fields.setdefault("think", _EFFORTS.get(effort, effort))
    kind, schema = parse_response_format(params)
    if kind != "text":
        fields.setdefault("format", schema.get("schema", {}) if kind == "json_schema" else "json")
    return fields


def _build_message(message: ChatMessage) -> dict[str, Any]:
    images = [_build_image(part) for part in message.parts() if isinstance(part, ImagePart)]
    other_parts = [part for part in message.parts() if not isinstance(part, ImagePart)]
    text = require_text(msgspec.structs.replace(message, content=other_parts))
    fields: dict[str, Any] = {"role": message.role, "content": text}
    if images:
        fields["images"] = images
    if message.reasoning and message.role == "assistant":
        fields["thinking"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [_build_tool_call(call) for call in message.tool_calls]
    if message.role == "tool":
        fields |= {"tool_name": message.tool_name, "tool_call_id": message.tool_call_id}
    return {name: value for name, value in fields.items() if value is not None}


def _build_tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.parse_arguments()}
    return {**({"id": call.id} if call.id else {}), "function": function}


def _build_image(part: ImagePart) -> str:
    inline = parse_data_url(part.image_url.url)
    if inline is None:
        raise unsupported("Ollama does not load images from a URL; send a data: URL")
    return inline[1]


class _ChatReader:
    """Implements ResponseReader for the lines of a chat response."""

    event_type: ClassVar[Any] = _ChatResponse
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self) -> None:
        self._tool_calls = 0
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        response = _decode_response(event.data)
        if is_error(response.error):
            raise UpstreamStreamError(event.data)
        message = response.message or _Message()
        if message.thinking and (thinking := read_text(message.thinking)):
            yield Reasoning(thinking)
        if message.content:
            yield from read_content(message.content)
        if message.tool_calls:
            yield ToolCallDelta([self._convert_tool_call(call) for call in message.tool_calls])
        if response.done:
            yield from self._read_end(response)

    def _read_end(self, response: _ChatResponse) -> Iterator[Part]:
        if response.done_reason in _NO_ANSWERS:
            message = f"the upstream did not answer: it only reported {response.done_reason!r}"
            raise UpstreamError("upstream_error", message, retryable=True)
        if response.prompt_eval_count is not None or response.eval_count is not None:
            tokens = {"prompt_tokens": response.prompt_eval_count or 0}
            yield Usage({**tokens, "completion_tokens": response.eval_count or 0})
        self.finish_reason = normalise_finish_reason(response.done_reason or "") or "stop"
        self.done = True

    def _convert_tool_call(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the call with an index of its own: each is complete in one line."""
        index, self._tool_calls = self._tool_calls, self._tool_calls + 1
        return {**call, "index": index}
