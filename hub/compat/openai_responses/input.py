"""The input of OpenAI's Responses as messages, and its parameters in the words of chat completions.

Source: platform.openai.com, API reference, "Create a model response". Reasoning items are left out:
the upstreams take none back.
"""

from __future__ import annotations

from typing import Any, Final

from hub.core.generation import Message
from hub.errors import BadRequest

_PARAM_NAMES: Final = {"max_output_tokens": "max_tokens"}
_TEXT_PARTS: Final = ("input_text", "output_text", "text", "refusal")


def to_messages(given: str | list[dict[str, Any]], instructions: str | None) -> list[Message]:
    """Raises BadRequest for an item that the hub cannot pass on."""
    found = [Message(role="system", content=instructions)] if instructions else []
    if isinstance(given, str):
        return [*found, Message(role="user", content=given)]
    for n, item in enumerate(given):
        message = _message(item, f"input[{n}]")
        before = found[-1] if found else None
        if message is None:
            continue
        if message.tool_calls and before is not None and before.role == "assistant":
            # A message and its calls are items here, and one turn there.
            calls = [*(before.tool_calls or ()), *message.tool_calls]
            found[-1] = Message(role="assistant", content=before.content, tool_calls=calls)
        else:
            found.append(message)
    return found


def _message(item: dict[str, Any], path: str) -> Message | None:
    match item.get("type", "message"):
        case "message":
            return Message(
                role=_required(item, "role", path), content=_content(item.get("content"), path)
            )
        case "function_call":
            name, id_ = _required(item, "name", path), _required(item, "call_id", path)
            function = {"name": name, "arguments": item.get("arguments") or ""}
            call = {"id": id_, "type": "function", "function": function}
            return Message(role="assistant", tool_calls=[call])
        case "function_call_output":
            output, id_ = _content(item.get("output"), path), _required(item, "call_id", path)
            return Message(role="tool", content=output, tool_call_id=id_)
        case "reasoning":
            return None
        case kind:
            raise BadRequest(f"{path}: items of type {kind!r} are not carried", path=path)


def _required(item: dict[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{path} has no {name}", path=path)
    return value


def _content(content: Any, path: str) -> Any:
    """A text, or chat's parts; parts that are all text become one text."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise BadRequest(f"{path}.content is a text or a list of parts", path=path)
    if all(part.get("type") in _TEXT_PARTS for part in content):
        return "".join(_text(part) for part in content)
    return [_part(part, path) for part in content]


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": _text(part)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"], **_given(part, "detail")}
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        return {"type": "file", "file": _given(part, "file_id", "file_data", "filename")}
    raise BadRequest(f"{path}: parts of type {kind!r} are not carried", path=path)


def _text(part: dict[str, Any]) -> str:
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else ""


def _given(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part[name] for name in names if part.get(name) is not None}


def to_params(
    rest: dict[str, Any],
    *,
    tools: list[dict[str, Any]] | None,
    tool_choice: Any,
    effort: str | None,
    text_format: dict[str, Any] | None,
) -> dict[str, Any]:
    """`rest` in chat's words, and what is said otherwise there: `reasoning.effort`, `text.format`.
    Raises BadRequest.
    """
    params = {_PARAM_NAMES.get(name, name): value for name, value in rest.items()}
    if tools:
        params["tools"] = [_tool(tool) for tool in tools]
        if tool_choice:
            params["tool_choice"] = _tool_choice(tool_choice)
    if effort is not None:
        params["reasoning_effort"] = effort
    if text_format and text_format.get("type") != "text":
        params["response_format"] = _response_format(text_format)
    return params


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise BadRequest(f"tools of type {tool.get('type')!r} are not carried", path="tools")
    return {"type": "function", "function": _given(tool, "name", "description", "parameters",
                                                  "strict")}  # fmt: skip


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _response_format(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": _given(form, "name", "description", "schema",
                                                        "strict")}  # fmt: skip
