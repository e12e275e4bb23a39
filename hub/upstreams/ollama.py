"""Ollama's own chat: newline-delimited JSON.

Source: Ollama's docs/api.md, "Generate a chat completion", and docs/errors: an error is a line of
its own, under status 200. An answer is complete at `"done": true`. Tool calls come whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.sse_decoder import ServerSentEvent
from hub.core.stream_parts import ReasoningDelta, StreamPart, TextDelta, ToolCallDelta, Usage
from hub.upstreams.chat_messages import (
    Call,
    ChatTurn,
    ImagePart,
    inline,
    parse_turns,
    text_of,
    unsupported,
)
from hub.upstreams.chat_params import (
    choice_of,
    effort_of,
    given_params,
    renamed,
    schema_of,
    tools_of,
)
from hub.upstreams.http_client import UpstreamRequest
from hub.upstreams.http_upstream import NDJSON, UpstreamStreamError

_OPTIONS: Final = {"max_tokens": "num_predict", "max_completion_tokens": "num_predict"}
_BESIDE_OPTIONS: Final = frozenset({"format", "keep_alive", "think", "truncate", "shift"})
_NO_OPTIONS: Final = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "n",
     "user", "store", "metadata", "logit_bias", "logprobs", "top_logprobs", "modalities",
     "prediction", "service_tier", "stream_options", "verbosity", "safety_identifier",
     "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)  # fmt: skip
_EFFORTS: Final = {"none": False, "minimal": "low", "xhigh": "max"}


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

    def build_request(self, request: GenerationRequest) -> UpstreamRequest:
        params = given_params(request.params)
        options = renamed(params, _OPTIONS, _NO_OPTIONS | _BESIDE_OPTIONS)
        return UpstreamRequest(
            path="/api/chat",
            body={
                **self._body,
                **_beside(params),
                **({"options": options} if options else {}),
                "model": request.model,
                "messages": [_message(turn) for turn in parse_turns(request)],
                "stream": True,
            },
        )

    def new_reader(self) -> _AnswerReader:
        return _AnswerReader()


def _beside(params: dict[str, Any]) -> dict[str, Any]:
    """What is said beside the options. Raises UpstreamError for a choice of tool: there is none."""
    told = {name: params[name] for name in _BESIDE_OPTIONS & params.keys()}
    choice = choice_of(params)
    if choice not in (None, "auto", "none"):
        raise unsupported("Ollama leaves the choice to the model: tool_choice is auto or none")
    if tools_of(params) and choice != "none":
        told["tools"] = params["tools"]
    if effort := effort_of(params):
        told.setdefault("think", _EFFORTS.get(effort, effort))
    kind, schema = schema_of(params)
    if kind != "text":
        told.setdefault("format", schema.get("schema", {}) if kind == "json_schema" else "json")
    return told


def _message(turn: ChatTurn) -> dict[str, Any]:
    images = [_image(part) for part in turn.parts() if isinstance(part, ImagePart)]
    rest = [part for part in turn.parts() if not isinstance(part, ImagePart)]
    text = text_of(msgspec.structs.replace(turn, content=rest))
    message: dict[str, Any] = {"role": turn.role, "content": text}
    if images:
        message["images"] = images
    if turn.calls:
        message["tool_calls"] = [_asked(call) for call in turn.calls]
    if turn.role == "tool":
        message |= {"tool_name": turn.tool, "tool_call_id": turn.answers}
    return {name: value for name, value in message.items() if value is not None}


def _asked(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.values()}
    return {**({"id": call.id} if call.id else {}), "function": function}


def _image(part: ImagePart) -> str:
    found = inline(part.image_url.url)
    if found is None:
        raise unsupported("Ollama fetches no images: give it a data: URL")
    return found[1]


class _AnswerReader:
    def __init__(self) -> None:
        self._calls = 0
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[StreamPart]:
        line = _decode(event.data)
        if line.error is not None:
            raise UpstreamStreamError(event.data)
        said = line.message or _Said()
        if said.thinking:
            yield ReasoningDelta(said.thinking)
        if said.content:
            yield TextDelta(said.content)
        if said.tool_calls:
            yield ToolCallDelta([self._call(call) for call in said.tool_calls])
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
