"""OpenAI's Responses API: a request converted from the words of chat completions.

Source: platform.openai.com, API reference, "Create a model response", and the guide "Migrate to the
Responses API". There, tools are strict unless a request says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.response_items import ITEM_PART
from hub.upstreams.chat_messages import (
    ChatMessage,
    ContentPart,
    FilePart,
    ImagePart,
    TextPart,
    parse_messages,
    require_text,
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

REASONING_FORMAT: Final = "openai-responses-v1"
"""The format of reasoning details that hold encrypted reasoning items, as OpenRouter names it."""
_NAMES: Final = {
    "max_output_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}
_CONVERTED: Final = frozenset(
    {
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "reasoning_summary",
        "verbosity",
    }
)
# Parameters without a counterpart. They are hints, so they are left out without an error.
_DROPPED: Final = frozenset(
    {"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "n",
     "modalities", "prediction", "stream_options", "stop"}
)  # fmt: skip


def build_params(request: GenerationRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for the request's parameters.

    body: the fields of every request; its nested objects are kept. Raise UpstreamError.
    """
    params = filter_params(request.params, refused=("stop",))
    fields = rename_params(params, _NAMES, _CONVERTED | _DROPPED)
    if tools := parse_tools(params):
        fields["tools"] = [_convert_tool(tool) for tool in tools]
    if choice := parse_tool_choice(params):
        fields["tool_choice"] = _convert_tool_choice(choice)
    text: dict[str, Any] = {}
    if "verbosity" in params:
        text["verbosity"] = params["verbosity"]
    if "response_format" in params:
        kind, schema = parse_response_format(params)
        text["format"] = {"type": kind, **schema}
    if text:
        fields["text"] = merge_objects("text", body, fields, {"text": text})
    reasoning = {
        "effort": parse_reasoning_effort(params),
        "summary": params.get("reasoning_summary"),
    }
    if given := {name: value for name, value in reasoning.items() if value}:
        fields["reasoning"] = merge_objects("reasoning", body, fields, {"reasoning": given})
    return fields


def _convert_tool(tool: Tool | dict[str, Any]) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    function = {"type": "function", "strict": False, "parameters": NO_PARAMETERS}
    return {**function, **msgspec.to_builtins(tool)}


def _convert_tool_choice(choice: str | NamedToolChoice | dict[str, Any]) -> Any:
    if isinstance(choice, NamedToolChoice):
        return {"type": "function", "name": choice.name}
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, dict):
        return choice
    tools = [
        {"type": "function", "name": tool.name} if isinstance(tool, Tool) else tool
        for tool in parse_tools(allowed)
    ]
    return {"type": "allowed_tools", **allowed, "tools": tools}


def build_input(request: GenerationRequest) -> list[dict[str, Any]]:
    """Return the conversation as input items. Raise UpstreamError."""
    return [item for message in parse_messages(request) for item in _build_items(message)]


def _build_items(message: ChatMessage) -> Iterator[dict[str, Any]]:
    has_parts = isinstance(message.content, list) and message.role != "assistant"
    content = [_convert_part(part) for part in message.parts()] if has_parts else None
    if message.role == "tool":
        output = content or message.content or ""
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
    elif message.role == "assistant" and (items := _kept_items(message)):
        yield from _build_reasoning(message)
        yield from items
    elif message.role == "assistant":
        yield from _build_reasoning(message)
        if text := require_text(message, "an assistant's content"):
            yield {"role": "assistant", "content": text}
    else:
        yield {"role": message.role, "content": content or message.content or ""}
    for call in message.tool_calls:
        item = {"type": "function_call", "call_id": call.id, "name": call.name}
        yield {**item, "arguments": call.arguments}


def _kept_items(message: ChatMessage) -> list[dict[str, Any]]:
    """Return the items of the API itself that a message stands for (core/response_items.py)."""
    parts = [part for part in message.parts() if isinstance(part, dict)]
    return [part["item"] for part in parts if part.get("type") == ITEM_PART and "item" in part]


def _build_reasoning(message: ChatMessage) -> Iterator[dict[str, Any]]:
    """Yield the items of earlier reasoning. The API accepts only what it has encrypted itself."""
    for detail in message.details_in(REASONING_FORMAT):
        if detail.get("type") == "reasoning.encrypted" and detail.get("data"):
            id_ = {"id": detail["id"]} if detail.get("id") else {}
            item = {"type": "reasoning", **id_, "summary": []}
            yield {**item, "encrypted_content": detail["data"]}


def _convert_part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            image = part.image_url
            return {"type": "input_image", "image_url": image.url, "detail": image.detail}
        case FilePart():
            return {"type": "input_file", **_convert_file(part)}
        case _:
            return part


def _convert_file(part: FilePart) -> dict[str, Any]:
    """Return the fields of a file; the URL of a file has a field of its own."""
    file = part.file
    if file.file_data and file.file_data[:5].lower() != "data:":
        return {"file_url": file.file_data}
    fields: dict[str, Any] = msgspec.to_builtins(file)
    return fields
