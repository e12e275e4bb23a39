"""The AI SDK: a chat requested in the words of chat completions, as `useChat` sends it.

Source: ai-sdk.dev, "UIMessage" and "Transport", and http-chat-transport.ts of the package `ai`. The
protocol has no fields for the model and its parameters: `model`, `params` and `tools` stand beside
the messages, where a hub reads them, and `tools` as assistant-ui sends those of its client.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.interrupts import RESUME
from hub.upstreams.ai_sdk.parts import HUB, REASONING_FORMAT
from hub.upstreams.chat_messages import (
    ChatMessage,
    ContentPart,
    FilePart,
    ImagePart,
    TextPart,
    ToolCall,
    media_type_of,
    parse_messages,
    require_text,
    unsupported,
)
from hub.upstreams.chat_params import NO_PARAMETERS, filter_params, function_tools

_CALL_FIELDS: Final = frozenset(
    {"id", "type", "function", "index", "run_by", "provider_metadata", "approval"}
)


def build_chat(
    request: GenerationRequest, context: GenerationContext | None, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body. body: the fields of every request. Raise UpstreamError.

    The id is that of the chat, or of the generation outside of one.
    """
    params = filter_params(request.params)
    generation = context.generation if context else secrets.token_hex(8)
    tools = {
        tool.name: {
            "description": tool.description or "",
            "parameters": tool.parameters or NO_PARAMETERS,
        }
        for tool in function_tools(params)
    }
    others = {name: value for name, value in params.items() if name not in ("tools", RESUME)}
    given: dict[str, Any] = {}
    if request.model != request.upstream:  # the name of the upstream stands for no model
        given["model"] = request.model
    if others:
        given["params"] = {**body.get("params", {}), **others}
    if tools:
        given["tools"] = {**body.get("tools", {}), **tools}
    return {
        **body,
        **given,
        "id": request.chat or generation,
        "messages": _build_messages(request),
        "trigger": "submit-message",
    }


def _build_messages(request: GenerationRequest) -> list[dict[str, Any]]:
    """Return the UI messages. An answer and the results of its tools are one message."""
    messages: list[dict[str, Any]] = []
    parsed = parse_messages(request)
    results = {m.tool_call_id: m for m in parsed if m.role == "tool"}
    for n, message in enumerate(parsed):
        if message.role == "assistant":
            parts = [*_build_answer(message, request.messages[n].tool_calls or [], results)]
            if messages and messages[-1]["role"] == "assistant":
                messages[-1]["parts"] += parts
            else:
                messages.append({"id": f"msg_{n}", "role": "assistant", "parts": parts})
        elif message.role == "system":
            text = require_text(message, "a system message's content")
            part = {"type": "text", "text": text}
            messages.append({"id": f"msg_{n}", "role": "system", "parts": [part]})
        elif message.role != "tool":
            parts = [_convert_part(part) for part in message.parts()]
            messages.append({"id": f"msg_{n}", "role": "user", "parts": parts})
    last_id = request.metadata.get("message")  # of the message that an AI SDK client continues
    if messages and messages[-1]["role"] == "assistant" and isinstance(last_id, str):
        messages[-1]["id"] = last_id
    return messages


def _build_answer(
    message: ChatMessage, calls: Sequence[Any], results: Mapping[str | None, ChatMessage]
) -> Iterator[dict[str, Any]]:
    """Yield the parts of one step of an answer. calls: the tool calls as the client sent them."""
    yield {"type": "step-start"}
    yield from _build_reasoning(message)
    if text := require_text(message, "an assistant's content"):
        yield {"type": "text", "text": text, "state": "done"}
    for call, given in zip(message.tool_calls, calls, strict=True):
        yield _build_call(call, given, results.get(call.id))


def _build_reasoning(message: ChatMessage) -> Iterator[dict[str, Any]]:
    details = [each for each in message.details_in(REASONING_FORMAT) if each.get("data")]
    if message.reasoning or details:
        metadata = _decode(str(details[-1]["data"])) if details else None
        known = {"providerMetadata": metadata} if isinstance(metadata, dict) else {}
        yield {"type": "reasoning", "text": message.reasoning or "", "state": "done", **known}


def _build_call(call: ToolCall, given: Any, result: ChatMessage | None) -> dict[str, Any]:
    arguments = _decode(call.arguments)
    head: dict[str, Any] = {
        "type": f"tool-{call.name}",
        "toolCallId": call.id or "",
        "input": call.arguments if arguments is None else arguments,
    }
    extras = {name: given[name] for name in given.keys() - _CALL_FIELDS}
    metadata = call.provider_metadata if isinstance(call.provider_metadata, dict) else {}
    if extras or metadata:
        head["callProviderMetadata"] = {**metadata, **({HUB: extras} if extras else {})}
    approval = given.get("approval")
    if isinstance(approval, dict):  # `{id, approved, …}`: what a person has decided
        head["approval"] = approval
    if result is None and isinstance(approval, dict):
        return {**head, "state": "approval-responded"}
    if result is None:
        return {**head, "state": "input-available"}
    text = require_text(result, "a tool's content")
    value = _decode(text) if text.lstrip().startswith(("{", "[")) else None
    return {**head, "state": "output-available", "output": text if value is None else value}


def _decode(text: str) -> Any:
    """Return the value of JSON text, None if it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _convert_part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            url = part.image_url.url
            return {"type": "file", "mediaType": media_type_of(url) or "image/*", "url": url}
        case FilePart() if part.file.file_data:
            file = part.file
            media_type = media_type_of(str(file.file_data), file.filename)
            named = {"filename": file.filename} if file.filename else {}
            fields = {"mediaType": media_type or "application/octet-stream", **named}
            return {"type": "file", **fields, "url": file.file_data}
        case FilePart():
            raise unsupported("this upstream needs file_data; it does not support file_id")
        case _:
            return part
