"""OpenAI's Responses: input items as messages, and parameters as chat completions name them.

Source: platform.openai.com, API reference, "Create a model response". A reasoning item becomes the
reasoning of the assistant's message that follows it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog

from hub.api.null_members import drop_null_members
from hub.compat.openai_responses.compaction import is_compaction, read_compaction
from hub.compat.openai_responses.kept_items import keep_item, kept_items
from hub.compat.openai_responses.tools import flat_name, to_functions, write_input
from hub.core.generation import Message
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest

# Items that the upstream's server has made for itself. Other upstreams have no use for them.
_HOSTED_ITEMS: Final = frozenset(
    {"code_interpreter_call", "file_search_call", "image_generation_call", "mcp_call",
     "mcp_approval_request", "mcp_approval_response", "mcp_list_tools", "web_search_call"}
)  # fmt: skip
_CHAT_ITEMS: Final = ("message", "function_call", "function_call_output", "reasoning")
_log = structlog.get_logger(__name__)
_PARAM_NAMES: Final = {"max_output_tokens": "max_tokens"}
_CALL_FIELDS: Final = {"id", "type", "call_id", "name", "arguments", "status", "namespace"}
_TEXT_PARTS: Final = ("input_text", "output_text", "text", "refusal")


def to_messages(items: str | list[dict[str, Any]], *, is_native: bool = False) -> list[Message]:
    """Return the messages of `input`. Raise BadRequest for an item that the hub cannot pass on.

    is_native: see requests.read_responses.
    """
    if isinstance(items, str):
        return [Message(role="user", content=items)]
    messages: list[Message] = []
    reasoning: Message | None = None  # for the message that follows
    left_out = set[str]()
    for n, item in enumerate(map(drop_null_members, items)):
        kind, is_own = str(item.get("type", "message")), is_compaction(item)
        if is_native and not is_own and (kind not in _CHAT_ITEMS or _has_phase(item)):
            kept = keep_item(_without_id(item, f"input[{n}]") if kind == "message" else item)
            messages.append(_merge(reasoning, kept) if reasoning else kept)
            reasoning = None
            continue
        if kind in _HOSTED_ITEMS:
            left_out.add(kind)
            continue
        if is_own:
            messages += read_compaction(item["encrypted_content"], f"input[{n}]")
            continue
        message = _message(item, f"input[{n}]")
        if item.get("type") == "reasoning":
            reasoning = _merge(reasoning, message) if reasoning else message
            continue
        previous = messages[-1] if messages else None
        if reasoning is not None and message.role == "assistant":
            message, reasoning = _merge(reasoning, message), None
        follows = previous is not None and previous.role == message.role == "assistant"
        follows = follows and previous is not None and not kept_items(previous)
        if previous is not None and follows and (message.tool_calls or previous.tool_calls):
            # Responses has separate items for a message and its tool calls, and the message may
            # continue behind them. Chat has one message, and the results of the calls follow it.
            messages[-1] = _merge(previous, message)
        else:
            messages.append(message)
    if left_out:
        _log.info("responses.items_left_out", types=sorted(left_out))
    return messages


def _has_phase(item: dict[str, Any]) -> bool:
    """Return whether an item is a message that chat completions cannot express for its `phase`."""
    is_answer = item.get("type", "message") == "message" and item.get("role") == "assistant"
    return is_answer and bool(item.get("phase")) and isinstance(item["phase"], str)


def _without_id(item: dict[str, Any], path: str) -> dict[str, Any]:
    """Return an earlier message of the assistant as input; its id is one of the hub.

    Raise BadRequest.
    """
    _message(item, path)
    content = item.get("content")
    parts = (
        [{"type": "output_text", "text": content}] if isinstance(content, str) else content or []
    )
    return {"type": "message", "role": "assistant", "content": parts, "phase": item["phase"]}


def _unsupported(item: dict[str, Any], path: str) -> BadRequest:
    return BadRequest(
        f"{path}: the hub does not support items of type {item.get('type')!r}",
        code=UNSUPPORTED_PARAMETER,
        path=path,
    )


def check_outputs(messages: list[Message]) -> None:
    """Raise BadRequest for the output of a tool call that is not in the conversation."""
    calls = set[str]()
    for message in messages:
        calls |= {
            str(call.get("id")) for call in message.tool_calls or () if isinstance(call, dict)
        }
        if message.role == "tool" and message.tool_call_id not in calls:
            raise BadRequest(
                f"there is no tool call for the output with call_id {message.tool_call_id!r}",
                path="input",
            )


def _merge(first: Message, second: Message) -> Message:
    """Return one message of the assistant for two items that follow each other."""
    texts = [each.reasoning_content for each in (first, second) if each.reasoning_content]
    details = [*(first.reasoning_details or ()), *(second.reasoning_details or ())]
    calls = [*(first.tool_calls or ()), *(second.tool_calls or ())]
    return Message(
        role="assistant",
        content=_join(first.content, second.content),
        tool_calls=calls or None,
        reasoning_content="\n".join(texts) or None,
        reasoning_details=details or None,
    )


def _join(first: Any, second: Any) -> Any:
    """Return the content of two messages; each is a text, a list of parts or None."""
    if not first or not second:
        return second if first is None else first
    if isinstance(first, str) and isinstance(second, str):
        return first + second
    return [
        part
        for content in (first, second)
        for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]


def _message(item: dict[str, Any], path: str) -> Message:
    match item.get("type", "message"):
        case "message":
            return Message(
                role=_required(item, "role", path), content=_content(item.get("content"), path)
            )
        case "function_call":
            name, id_ = _required(item, "name", path), _required(item, "call_id", path)
            namespace = item.get("namespace")
            if isinstance(namespace, str) and namespace:
                name = flat_name(namespace, name)
            function = {"name": name, "arguments": item.get("arguments") or ""}
            extras = {name: item[name] for name in item.keys() - _CALL_FIELDS}
            call = {**extras, "id": id_, "type": "function", "function": function}
            return Message(role="assistant", tool_calls=[call])
        case "function_call_output":
            output, id_ = _content(item.get("output"), path), _required(item, "call_id", path)
            return Message(role="tool", content=output, tool_call_id=id_)
        case "custom_tool_call":
            name, id_ = _required(item, "name", path), _required(item, "call_id", path)
            arguments = write_input(item.get("input"))
            call = {"id": id_, "type": "function",
                    "function": {"name": name, "arguments": arguments}}  # fmt: skip
            return Message(role="assistant", tool_calls=[call])
        case "custom_tool_call_output":
            return _message({**item, "type": "function_call_output"}, path)
        case "reasoning":
            return _reasoning(item)
        case _:
            raise _unsupported(item, path)


def _reasoning(item: dict[str, Any]) -> Message:
    """Return a message that has only the reasoning of an item."""
    parts = [part for field in ("content", "summary") for part in _list(item.get(field))]
    text = "".join(_text(part) for part in parts)
    details = _list(item.get("reasoning_details"))
    if not details and item.get("encrypted_content"):
        detail = {"type": "reasoning.encrypted", "data": item["encrypted_content"]}
        details = [{**detail, **_given(item, "id")}]
    return Message("assistant", reasoning_content=text or None, reasoning_details=details or None)


def _list(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, none for another value."""
    given = value if isinstance(value, list) else []
    return [drop_null_members(each) for each in given if isinstance(each, dict)]


def _required(item: dict[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{path} has no {name}", path=path)
    return value


def _content(content: Any, path: str) -> Any:
    """Return the content for chat completions; parts that are all text become one string."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise BadRequest(f"{path}.content must be a string or a list of parts", path=path)
    parts = [drop_null_members(part) for part in content]
    if all(part.get("type") in _TEXT_PARTS for part in parts):
        return "".join(_text(part) for part in parts)
    return [_part(part, path) for part in parts]


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": _text(part)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"], **_given(part, "detail")}
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        return {"type": "file", "file": _given(part, "file_id", "file_data", "filename")}
    raise BadRequest(
        f"{path}: the hub does not support parts of type {kind!r}",
        code=UNSUPPORTED_PARAMETER,
        path=path,
    )


def _text(part: dict[str, Any]) -> str:
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else ""


def _given(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part[name] for name in names if part.get(name) is not None}


class TextOptions(msgspec.Struct, frozen=True):
    """The field `text`."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    """The field `reasoning`."""

    effort: str | None = None
    summary: str | None = None


def to_params(
    rest: dict[str, Any],
    *,
    tools: list[dict[str, Any]] | None,
    tool_choice: Any,
    reasoning: ReasoningOptions,
    text: TextOptions,
    is_native: bool,
) -> dict[str, Any]:
    """Return the parameters as chat completions name them.

    rest: the fields that pass through. is_native: see requests.read_responses.
    """
    params = {_PARAM_NAMES.get(name, name): value for name, value in rest.items()}
    if offered := to_functions(tools or (), keeps_others=is_native):
        params["tools"] = offered
        if tool_choice:
            params["tool_choice"] = _tool_choice(tool_choice)
    if reasoning.effort is not None:
        params["reasoning_effort"] = reasoning.effort
    if reasoning.summary is not None and is_native:
        params["reasoning_summary"] = reasoning.summary
    if text.format and text.format.get("type") != "text":
        params["response_format"] = _response_format(text.format)
    if text.verbosity is not None:
        params["verbosity"] = text.verbosity
    return params


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        name, namespace = choice.get("name"), choice.get("namespace")
        if isinstance(name, str) and isinstance(namespace, str) and namespace:
            name = flat_name(namespace, name)
        return {"type": "function", "function": {"name": name}}
    return choice


def _response_format(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": _given(form, "name", "description", "schema",
                                                        "strict")}  # fmt: skip
