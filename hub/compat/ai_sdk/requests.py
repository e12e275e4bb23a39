"""The AI SDK's UI messages as the upstream's: parts become content, tool calls and their results.

Source: ai-sdk.dev, "UIMessage", and convertToModelMessages of the package `ai`. A step of an
assistant's message is a turn of its own; reasoning, sources and `data-` parts stay with the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from hub.core.generation import Message
from hub.errors import BadRequest


class UiMessage(msgspec.Struct, frozen=True):
    """One message."""

    role: str
    id: str | None = None
    parts: list[dict[str, Any]] = []


def to_messages(given: list[UiMessage], system: str | None) -> list[Message]:
    """Raises BadRequest for a part that the hub cannot pass on."""
    found = [Message(role="system", content=system)] if system else []
    for n, message in enumerate(given):
        if message.role == "assistant":
            found += _assistant(message.parts, f"messages[{n}]")
        elif message.role in ("user", "system"):
            content = [_content(part, f"messages[{n}]") for part in message.parts]
            found.append(Message(role=message.role, content=_simplest([c for c in content if c])))
        else:
            raise BadRequest(f"messages[{n}] is of no role known here", path=f"messages[{n}].role")
    return found


def _assistant(parts: list[dict[str, Any]], path: str) -> Iterator[Message]:
    step: list[dict[str, Any]] = []
    for part in [*parts, {"type": "step-start"}]:
        if part.get("type") != "step-start":
            step.append(part)
        elif step:
            yield from _step(step, path)
            step = []


def _step(parts: list[dict[str, Any]], path: str) -> Iterator[Message]:
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    tools = [part for part in parts if _tool_name(part) and part.get("state") in list(_OUTPUTS)]
    calls = [_call(part, _call_id(part, path)) for part in tools]
    if text or calls:
        yield Message(role="assistant", content=text or None, tool_calls=calls or None)
    for part in tools:
        field = _OUTPUTS[part["state"]]
        output = part.get(field)
        yield Message(
            role="tool",
            tool_call_id=_call_id(part, path),
            content=output if isinstance(output, str) else msgspec.json.encode(output).decode(),
        )


_OUTPUTS = {"output-available": "output", "output-error": "errorText"}


def _tool_name(part: dict[str, Any]) -> str:
    kind = str(part.get("type", ""))
    if kind == "dynamic-tool":
        return str(part.get("toolName", ""))
    return kind.removeprefix("tool-") if kind.startswith("tool-") else ""


def _call_id(part: dict[str, Any], path: str) -> str:
    id_ = part.get("toolCallId")
    if not isinstance(id_, str) or not id_:
        raise BadRequest(f"{path}: a tool part has no toolCallId", path=path)
    return id_


def _call(part: dict[str, Any], id_: str) -> dict[str, Any]:
    arguments = msgspec.json.encode(part.get("input", part.get("rawInput", {}))).decode()
    function = {"name": _tool_name(part), "arguments": arguments}
    return {"id": id_, "type": "function", "function": function}


def _content(part: dict[str, Any], path: str) -> dict[str, Any] | None:
    kind = str(part.get("type", ""))
    if kind == "text":
        return {"type": "text", "text": str(part.get("text", ""))}
    if kind == "file":
        url, media = str(part.get("url", "")), str(part.get("mediaType", ""))
        if media.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "file", "file": {"file_data": url, "filename": part.get("filename")}}
    if kind.startswith("data-") or kind in ("reasoning", "source-url", "source-document"):
        return None
    raise BadRequest(f"{path}: parts of type {kind!r} are not carried", path=path)


def _simplest(content: list[dict[str, Any]]) -> Any:
    """Parts that are all text become one text, which every upstream takes."""
    if all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content
