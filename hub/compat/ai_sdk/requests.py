"""The request body of the AI SDK's chat: UI messages become content, tool calls and tool results.

Source: ai-sdk.dev, "UIMessage", and convertToModelMessages of the package `ai`. Each step of an
assistant's message becomes a message of its own, with its reasoning. A tool call is kept if it has
a result or the user has approved or denied it. Sources and `data-` parts are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.api.null_members import drop_null_members
from hub.compat.ai_sdk.tools import with_tools
from hub.compat.input_pauses import Decision, read_input_id
from hub.core.generation import Message
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest

_REFUSED: Final = "Tool call execution denied."  # as the SDK says it
_APPROVED: Final = "The user approved this tool call. It has no result yet."
_OUTPUT_FIELDS: Final = {"output-available": "output", "output-error": "errorText"}
"""The field of a tool's result, by the state of its part."""


class UiMessage(msgspec.Struct, frozen=True):
    """One UI message."""

    role: str
    id: str | None = None
    parts: list[dict[str, Any]] = []


class AiSdkBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. Applications add the hub's own fields with the option `body`
    of sendMessage or of the transport.
    """

    messages: list[UiMessage]
    id: str | None = None
    model: str | None = None
    upstream: str | None = None
    system: str | None = None
    params: dict[str, Any] = {}
    tools: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    on_disconnect: str = "continue"


def read_chat(raw: dict[str, Any]) -> tuple[AiSdkBody, GenerateBody]:
    """Return the body and the generation that it requests.

    If the last message is the assistant's, the answer continues it. Raise BadRequest.
    """
    body = convert_json(raw, AiSdkBody)
    if not body.messages:
        raise BadRequest("messages is empty", path="messages")
    last = body.messages[-1]
    continued = {"message": last.id} if last.role == "assistant" and last.id else {}
    return body, GenerateBody(
        messages=to_messages(body.messages, body.system),
        model=body.model,
        upstream=body.upstream,
        params=with_tools(body.params, body.tools),
        metadata={**body.metadata, **continued},
        on_disconnect=body.on_disconnect,
    )


def read_decisions(messages: list[UiMessage]) -> list[Decision]:
    """Return what the last message decides of the inputs of the newest answer in it, in order.

    A client keeps the decisions in its message. Once it has also run a tool that the answer called
    after them, the message asks for a new answer, and decides nothing.
    """
    last = messages[-1] if messages else UiMessage("")
    decisions: list[Decision] = []
    for part in last.parts if last.role == "assistant" else ():
        if not _tool_name(part):
            continue
        if decided := [*_read_decision(part)]:
            decisions += decided
        elif _is_result_of_client(part):
            decisions = []
    return [each for each in decisions if each.generation == decisions[-1].generation]


def _is_result_of_client(part: dict[str, Any]) -> bool:
    """Return whether a tool part has a result that is neither the hub's nor a decision."""
    ids = _approval(part).get("id"), part.get("toolCallId")
    is_input = any(read_input_id(id_) is not None for id_ in ids)
    return not is_input and not part.get("providerExecuted") and _tool_result(part) is not None


def _approval(part: dict[str, Any]) -> dict[str, Any]:
    given = part.get("approval")
    return given if isinstance(given, dict) else {}


def _read_decision(part: dict[str, Any]) -> Iterator[Decision]:
    state, approval = part.get("state"), _approval(part)
    id_ = read_input_id(approval.get("id"))
    if id_ is not None and isinstance(approval.get("approved"), bool):
        yield Decision(*id_, approval["approved"])
    elif state == "output-available" and (id_ := read_input_id(part.get("toolCallId"))):
        yield Decision(*id_, part.get("output"))


def to_messages(ui_messages: list[UiMessage], system: str | None) -> list[Message]:
    """Return the messages for an upstream, after a system message with `system`.

    Raise BadRequest for a part that the hub cannot pass on.
    """
    messages = [Message(role="system", content=system)] if system else []
    for n, ui_message in enumerate(ui_messages):
        role, path = ui_message.role, f"messages[{n}]"
        ui_parts = [drop_null_members(part) for part in ui_message.parts]
        if role == "assistant":
            messages += _assistant(ui_parts, path)
        elif role in ("user", "system"):
            parts = [_content(part, path) for part in ui_parts]
            content = _simplify([part for part in parts if part is not None])
            messages.append(Message(role=role, content=content))
        else:
            raise BadRequest(
                f"{path}: the hub does not support the role {role!r}",
                code=UNSUPPORTED_PARAMETER,
                path=f"{path}.role",
            )
    return messages


def _assistant(parts: list[dict[str, Any]], path: str) -> Iterator[Message]:
    step: list[dict[str, Any]] = []
    for part in [*parts, {"type": "step-start"}]:
        if part.get("type") != "step-start":
            step.append(part)
        elif step:
            yield from _step(step, path)
            step = []


def _step(step: list[dict[str, Any]], path: str) -> Iterator[Message]:
    parts = _valid_parts(step)
    results = [
        (part, result)
        for part in parts
        if _tool_name(part) and (result := _tool_result(part)) is not None
    ]
    calls = [_call(part, _call_id(part, path)) for part, _ in results]
    reasoning_parts = [part for part in parts if part.get("type") == "reasoning"]
    text, reasoning = _join_texts(parts, "text"), _join_texts(reasoning_parts, "reasoning")
    details = [detail for part in reasoning_parts for detail in _reasoning_details(part)]
    if text or calls:
        yield Message(
            role="assistant",
            content=text or None,
            tool_calls=calls or None,
            reasoning_content=reasoning or None,
            reasoning_details=details or None,
        )
    for part, result in results:
        yield Message(role="tool", tool_call_id=_call_id(part, path), content=result)


def _valid_parts(step: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a step without those that a later `data-generation` part retracts.

    The encoder sends it. The steps before may belong to earlier answers, which stay valid.
    """
    valid: list[dict[str, Any]] = []
    is_text_valid = True
    for part in reversed(step):
        data = part.get("data") if part.get("type") == "data-generation" else None
        event = data.get("event") if isinstance(data, dict) else None
        if event == "restarted":
            break
        is_text_valid = is_text_valid and event != "replaced"
        if is_text_valid or part.get("type") != "text":
            valid.append(part)
    return valid[::-1]


def _join_texts(parts: list[dict[str, Any]], type_: str) -> str:
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") == type_)


def _hub_fields(part: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the encoder has put into a part's provider metadata for the next request."""
    metadata = part.get(name)
    fields = metadata.get("hub") if isinstance(metadata, dict) else None
    return fields if isinstance(fields, dict) else {}


def _reasoning_details(part: dict[str, Any]) -> list[dict[str, Any]]:
    details = _hub_fields(part, "providerMetadata").get("reasoningDetails")
    if not isinstance(details, list):
        return []
    return [detail for detail in details if isinstance(detail, dict)]


def _tool_result(part: dict[str, Any]) -> str | None:
    """Return the result of a call as text, None for a call without a result or an answer."""
    state, approval = part.get("state"), _approval(part)
    if state in _OUTPUT_FIELDS:
        output = part.get(_OUTPUT_FIELDS[state])
        return output if isinstance(output, str) else msgspec.json.encode(output).decode()
    if state == "output-denied" or (state == "approval-responded" and not approval.get("approved")):
        reason = approval.get("reason")
        return reason if isinstance(reason, str) and reason else _REFUSED
    return _APPROVED if state == "approval-responded" else None


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
    extras = _hub_fields(part, "callProviderMetadata")
    return {**extras, "id": id_, "type": "function", "function": function}


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
    raise BadRequest(
        f"{path}: the hub does not support parts of type {kind!r}",
        code=UNSUPPORTED_PARAMETER,
        path=path,
    )


def _simplify(content: list[dict[str, Any]]) -> Any:
    """Join parts that are all text into one string, which every upstream accepts."""
    if all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content
