"""Anthropic's Messages API: a request converted from the words of chat completions.

Source: docs.claude.com, "Messages" (API reference), "Tool use", "Vision", "Structured outputs".
Parameters without a counterpart are treated as in "OpenAI SDK compatibility".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hub.core.generation import GenerationRequest
from hub.core.reasoning_formats import ANTHROPIC
from hub.upstreams.chat_messages import (
    ChatMessage,
    ContentPart,
    FilePart,
    ImagePart,
    TextPart,
    decode_field,
    parse_data_url,
    parse_messages,
    unsupported,
)
from hub.upstreams.chat_params import (
    NO_PARAMETERS,
    NamedToolChoice,
    Tool,
    filter_params,
    merge_objects,
    parse_reasoning_effort,
    parse_response_format,
    parse_tool_choice,
    parse_tools,
    rename_params,
)

_NAMES: Final = {"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens"}
_CONVERTED: Final = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "stop", "user", "response_format",
     "reasoning_effort"}
)  # fmt: skip
# Parameters without a counterpart. They are hints, so they are left out without an error.
_DROPPED: Final = frozenset(
    {"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "n",
     "store", "modalities", "prediction", "stream_options", "verbosity", "safety_identifier",
     "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)  # fmt: skip
_MAX_TEMPERATURE: Final = 1  # chat completions allow 2; the vendor's own conversion caps it as well
_SERVICE_TIERS: Final = ("auto", "standard_only")
_TOOL_CHOICES: Final = {"required": "any"}
_EFFORTS: Final = {"minimal": "low"}
_FEATURE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def build_params(request: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for the request's parameters.

    body: the fields of every request; its nested objects are kept. Raise UpstreamError.
    """
    params = filter_params(request.params)
    fields = rename_params(params, _NAMES, _CONVERTED | _DROPPED)
    if "temperature" in fields and isinstance(fields["temperature"], int | float):
        fields["temperature"] = min(fields["temperature"], _MAX_TEMPERATURE)
    if "stop" in params:
        stop = params["stop"]
        fields["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if "user" in params:
        fields.setdefault("metadata", {"user_id": params["user"]})
    if fields.get("service_tier") not in _SERVICE_TIERS:
        fields.pop("service_tier", None)
    if tools := parse_tools(params):
        fields["tools"] = [_convert_tool(tool) for tool in tools]
    if choice := _build_tool_choice(params):
        fields["tool_choice"] = choice
    if not fields.get("system", True):
        del fields["system"]  # that of every request counts
    if parse_reasoning_effort(params) == "none":
        fields.setdefault("thinking", {"type": "disabled"})
    if output := _build_output_config(params):
        output_config = {"output_config": output}
        fields["output_config"] = merge_objects("output_config", body, fields, output_config)
    return fields


def build_beta_header(fields: dict[str, Any]) -> dict[str, str]:
    """Take the features out of the fields and return the header that asks for them.

    They are the parameter `anthropic_beta`, as other clouds name it. Raise UpstreamError.
    """
    given = decode_field(fields.pop("anthropic_beta", None), list[str] | None, "anthropic_beta")
    for name in given or ():
        if not _FEATURE.fullmatch(name):
            raise unsupported("anthropic_beta must be a list of names of features")
    return {"anthropic-beta": ",".join(given)} if given else {}


def _convert_tool(tool: Tool | dict[str, Any]) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    return {
        "name": tool.name,
        **({"description": tool.description} if tool.description else {}),
        "input_schema": tool.parameters or NO_PARAMETERS,
        **({"strict": True} if tool.strict else {}),
    }


def _build_tool_choice(params: dict[str, Any]) -> dict[str, Any] | None:
    requested = parse_tool_choice(params)
    is_sequential = params.get("parallel_tool_calls") is False
    if requested is None and not (is_sequential and params.get("tools")):
        return None
    if isinstance(requested, dict):
        choice = requested
    elif isinstance(requested, NamedToolChoice):
        choice = {"type": "tool", "name": requested.name}
    else:
        choice = {"type": _TOOL_CHOICES.get(requested or "auto", requested or "auto")}
    if is_sequential and choice.get("type") != "none":
        return {**choice, "disable_parallel_tool_use": True}
    return choice


def _build_output_config(params: dict[str, Any]) -> dict[str, Any]:
    output: dict[str, Any] = {}
    effort = parse_reasoning_effort(params)
    if effort not in (None, "none"):
        output["effort"] = _EFFORTS.get(str(effort), effort)
    kind, schema = parse_response_format(params)
    if kind == "json_schema":
        output["format"] = {"type": "json_schema", "schema": schema.get("schema", {})}
    elif kind != "text":
        raise unsupported(
            f"this upstream does not support response_format of type {kind!r}; use json_schema"
        )
    return output


def is_native(request: GenerationRequest) -> bool:
    """Return whether the request was made for this API: it then has a parameter `system`."""
    return "system" in request.params


def build_conversation(request: GenerationRequest) -> dict[str, Any]:
    """Return `messages`, and `system` if there is a system message. Raise UpstreamError.

    The messages of the role `system` of a request that was made for this API stay where they are.
    """
    has_system = is_native(request)
    system: list[ChatMessage] = []
    messages: list[dict[str, Any]] = []
    tool_results: list[dict[str, Any]] | None = None
    for message in parse_messages(request):
        if message.role == "system" and not has_system:
            system.append(message)
        elif message.role == "tool":
            if tool_results is None:  # consecutive tool results must stand in one message
                tool_results = []
                messages.append({"role": "user", "content": tool_results})
            tool_results.append(_build_tool_result(message))
        elif (content := _convert_content(message)) or message.role != "assistant":
            tool_results = None
            messages.append({"role": message.role, "content": content})
    return {**({"system": _build_system(system)} if system else {}), "messages": messages}


def _build_system(messages: list[ChatMessage]) -> str | list[dict[str, Any]]:
    if all(isinstance(message.content, str) for message in messages):
        return "\n\n".join(str(message.content) for message in messages)
    return [_convert_part(part) for message in messages for part in message.parts()]


def _convert_content(message: ChatMessage) -> str | list[dict[str, Any]]:
    """Return the content, which may be empty; the API rejects an empty assistant message."""
    thinking = [*_build_thinking(message)]
    if isinstance(message.content, str) and not message.tool_calls and not thinking:
        return message.content
    blocks = [_convert_part(part) for part in message.parts()]
    return [*thinking, *blocks] + [
        {
            "type": "tool_use",
            "id": _convert_tool_id(call.id),
            "name": call.name,
            "input": call.parse_arguments(),
        }
        for call in message.tool_calls
    ]


def _build_thinking(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """Yield the blocks of earlier thinking. The API accepts only what it has signed itself."""
    for detail in message.details_in(ANTHROPIC) if message.role == "assistant" else ():
        if detail.get("signature"):
            text = str(detail.get("text") or "")
            yield {"type": "thinking", "thinking": text, "signature": detail["signature"]}
        elif detail.get("type") == "reasoning.encrypted" and detail.get("data"):
            yield {"type": "redacted_thinking", "data": detail["data"]}


def _build_tool_result(message: ChatMessage) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": _convert_tool_id(message.tool_call_id)}
    if not message.content:
        return block
    text = message.content if isinstance(message.content, str) else None
    return {**block, "content": text or [_convert_part(part) for part in message.parts()]}


def _convert_tool_id(id_: str | None) -> str:
    """Return an id that the API accepts: the ids of other vendors may have dots and colons."""
    return _NOT_IN_AN_ID.sub("_", id_ or "")


def _convert_part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart():
            cache = {"cache_control": part.cache_control} if part.cache_control else {}
            return {"type": "text", "text": part.text, **cache}
        case ImagePart():
            return {"type": "image", "source": _build_source(part.image_url.url)}
        case FilePart():
            if not part.file.file_data:
                raise unsupported("this upstream needs file_data; it does not support file_id")
            title = {"title": part.file.filename} if part.file.filename else {}
            return {"type": "document", **title, "source": _build_source(part.file.file_data)}
        case _:
            return part


def _build_source(url: str) -> dict[str, Any]:
    if (inline := parse_data_url(url)) is None:
        return {"type": "url", "url": url}
    media_type, data = inline
    return {"type": "base64", "media_type": media_type, "data": data}
