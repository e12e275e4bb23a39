"""AG-UI: a run requested in the words of chat completions.

Source: docs.ag-ui.com, "RunAgentInput" and "Messages", and the package @ag-ui/core (1.0). The
protocol has no fields for the model and its parameters: they are in `forwardedProps`, where a hub
reads them as well. The parameters `state`, `context`, `forwardedProps` and `resume` are the fields
of the same names. A tool of an AG-UI client is unchanged.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.interrupts import RESUME
from hub.upstreams.chat_messages import (
    ChatMessage,
    ContentPart,
    FilePart,
    ImagePart,
    TextPart,
    media_type_of,
    parse_data_url,
    parse_messages,
    require_text,
    unsupported,
)
from hub.upstreams.chat_params import (
    NO_PARAMETERS,
    Tool,
    filter_params,
    is_ag_ui_tool,
    merge_objects,
    parse_tools,
)

PROTOCOL_VERSION: Final = "1.0"
REASONING_FORMAT: Final = "ag-ui-v1"
"""The format of reasoning details that hold the encrypted values of an agent."""
_OWN_FIELDS: Final = ("state", "context", "forwardedProps", RESUME)
_MEDIA: Final = ("image", "audio", "video")


def build_run(
    request: GenerationRequest, context: GenerationContext | None, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the RunAgentInput. body: the fields of every request. Raise UpstreamError.

    The thread is the chat, or the generation outside of one. The run is the attempt at the
    generation.
    """
    params = filter_params(request.params)
    generation = context.generation if context else secrets.token_hex(8)
    attempt = context.attempt if context else 1
    own: dict[str, Any] = {name: params[name] for name in _OWN_FIELDS if name in params}
    return {
        "state": {},
        "context": [],
        "protocolVersion": PROTOCOL_VERSION,
        **body,
        **own,
        "threadId": request.chat or generation,
        "runId": f"{generation}-{attempt}",
        "messages": [*_build_messages(request)],
        "tools": [*body.get("tools", ()), *_build_tools(params)],
        "forwardedProps": _build_props(request, params, body),
    }


def _build_tools(params: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tools that the client offers. Raise UpstreamError for one that is no function."""
    for tool in parse_tools(params):
        if isinstance(tool, Tool):
            yield {
                "name": tool.name,
                "description": tool.description or "",
                "parameters": tool.parameters or NO_PARAMETERS,
            }
        elif is_ag_ui_tool(tool):
            yield tool
        else:
            raise unsupported("this upstream supports only functions as tools")


def _build_props(
    request: GenerationRequest, params: dict[str, Any], body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the agent gets beside the protocol: the model, if one was chosen, and params."""
    others = {k: v for k, v in params.items() if k not in (*_OWN_FIELDS, "tools")}
    given: dict[str, Any] = {}
    if request.model != request.upstream:  # the name of the upstream stands for no model
        given["model"] = request.model
    if others:
        given["params"] = others
    return {**given, **merge_objects("forwardedProps", body, params)}


def message_ids(request: GenerationRequest) -> list[str]:
    """Return the ids of the messages of a request: those of an AG-UI client, else made ones.

    A made id is the same in each request of a chat, so that an agent recognises the messages.
    """
    given = request.metadata.get("ids")
    known = given if isinstance(given, list) and len(given) <= len(request.messages) else []
    ids = [*known, *[None] * (len(request.messages) - len(known))]
    return [id_ if isinstance(id_, str) and id_ else f"msg_{n}" for n, id_ in enumerate(ids)]


def _build_messages(request: GenerationRequest) -> Iterator[dict[str, Any]]:
    for id_, message in zip(message_ids(request), parse_messages(request), strict=True):
        head: dict[str, Any] = {"id": id_, "role": message.role}
        match message.role:
            case "assistant":
                yield from _build_reasoning(id_, message)
                yield {**head, **_build_answer(message)}
            case "tool":
                content = _build_content(message)
                yield {**head, "toolCallId": message.tool_call_id or "", "content": content}
            case "system":
                yield {**head, "content": require_text(message, "a system message's content")}
            case _:
                yield {**head, "content": _build_content(message)}


def _build_reasoning(id_: str, message: ChatMessage) -> Iterator[dict[str, Any]]:
    """Yield the messages with the reasoning of an answer, and what the agent needs back of it."""
    details = [each for each in message.details_in(REASONING_FORMAT) if each.get("data")]
    if message.reasoning or details:
        head = {"id": f"{id_}_reasoning", "role": "reasoning", "content": message.reasoning or ""}
        encrypted = {"encryptedValue": str(details[-1]["data"])} if details else {}
        named = {"id": str(details[-1]["id"])} if details and details[-1].get("id") else {}
        yield {**head, **named, **encrypted}


def _build_answer(message: ChatMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    text = require_text(message, "an assistant's content")
    if text or not message.tool_calls:
        fields["content"] = text
    if message.tool_calls:
        fields["toolCalls"] = [
            {
                "id": call.id or "",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
                **({"encryptedValue": call.encrypted_value} if call.encrypted_value else {}),
            }
            for call in message.tool_calls
        ]
    return fields


def _build_content(message: ChatMessage) -> str | list[dict[str, Any]]:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return [_convert_part(part) for part in message.content]


def _convert_part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return {"type": "image", "source": _build_source(part.image_url.url)}
        case FilePart() if part.file.file_id:
            return {"type": "document", "source": {"type": "file", "value": part.file.file_id}}
        case FilePart() if part.file.file_data:
            media_type = media_type_of(part.file.file_data, part.file.filename)
            kind, _, _ = media_type.partition("/")
            source = _build_source(part.file.file_data, media_type)
            return {"type": kind if kind in _MEDIA else "document", "source": source}
        case FilePart():
            raise unsupported("a file needs file_data or file_id")
        case _:
            return part


def _build_source(url: str, media_type: str = "") -> dict[str, Any]:
    if (inline := parse_data_url(url)) is not None:
        return {"type": "data", "value": inline[1], "mimeType": inline[0] or media_type}
    named = {"mimeType": media_type} if media_type else {}
    return {"type": "url", "value": url, **named}
