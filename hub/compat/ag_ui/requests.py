"""The request body of AG-UI.

Source: docs.ag-ui.com, "RunAgentInput", and the package @ag-ui/core. The protocol has no fields for
the model, the upstream and its parameters, so the hub reads them from `forwardedProps`. An upstream
of the kind `ag_ui` gets the fields of the run that other upstreams do not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.api.null_members import drop_null_members
from hub.compat.input_pauses import Decision, read_input_id
from hub.core.generation import Message
from hub.errors import BadRequest

NATIVE_KIND: Final = "ag_ui"
"""The kind of upstreams that know all fields of a run."""
_HUB_PROPS: Final = ("model", "upstream", "on_disconnect")  # the hub's own
_NOT_SENT: Final = ("activity", "reasoning")  # roles of messages that no upstream knows


class AgUiMessage(msgspec.Struct, frozen=True, rename="camel"):
    """One message of the run."""

    role: str
    id: str | None = None
    content: Any = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def to_message(self) -> Message:
        """Return the message as the hub stores it."""
        return Message(
            role=self.role,
            content=_content(self.content),
            name=self.name,
            tool_calls=self.tool_calls or None,
            tool_call_id=self.tool_call_id,
        )


class Tool(msgspec.Struct, frozen=True):
    """A tool that the client offers."""

    name: str
    description: str = ""
    parameters: Any = None


class Context(msgspec.Struct, frozen=True):
    """A fact that the application tells the agent."""

    value: str
    description: str = ""


class ForwardedProps(msgspec.Struct, frozen=True):
    """The fields of `forwardedProps` that the hub reads."""

    model: str | None = None
    upstream: str | None = None
    params: dict[str, Any] = {}
    on_disconnect: str = "continue"


class Resume(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to an interrupt. status: `resolved` or `cancelled`."""

    interrupt_id: str
    status: str = "resolved"
    payload: Any = None

    def to_decision(self) -> Decision:
        """Return what it decides. Raise BadRequest for an interrupt that is not one of the hub."""
        id_ = read_input_id(self.interrupt_id)
        if id_ is None:
            raise BadRequest("resume has an unknown interruptId", path="resume")
        payload = self.payload
        if isinstance(payload, dict) and isinstance(payload.get("approved"), bool):
            payload = payload["approved"]
        if self.status == "cancelled":
            return Decision(*id_, False, is_cancelled=True)
        return Decision(*id_, payload)


class RunAgentInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a run."""

    thread_id: str
    run_id: str
    messages: list[AgUiMessage]
    tools: list[Tool] | None = None
    context: list[Context] | None = None
    forwarded_props: Any = None
    protocol_version: Any = None
    resume: list[Resume] | None = None

    @property
    def knows_activities(self) -> bool:
        """Whether the client knows the events of activities: it sends its version since 1.0."""
        return isinstance(self.protocol_version, str)

    @property
    def props(self) -> ForwardedProps:
        """The fields of `forwardedProps`; other values than an object are ignored.

        Raise BadRequest for a field of the wrong type.
        """
        given = self.forwarded_props
        return convert_json(given, ForwardedProps) if isinstance(given, dict) else ForwardedProps()

    @property
    def idempotency_key(self) -> str:
        """The key of this run of this thread: a hash, because the ids may be long."""
        ids = msgspec.json.encode((self.thread_id, self.run_id))
        return f"agui {hashlib.sha256(ids).hexdigest()}"


def to_request(
    body: RunAgentInput, props: ForwardedProps, native: Mapping[str, Any] | None = None
) -> GenerateBody:
    """Return the generation that a run requests.

    native: the JSON object of the body if an AG-UI agent answers; then the parameters are its
    fields, unchanged. For other upstreams the context becomes a system message, and the tools have
    the form of chat completions.
    Raise BadRequest if the run has no messages.
    """
    given = [message for message in body.messages if message.role not in _NOT_SENT]
    if not given:
        raise BadRequest("messages is empty", path="messages")
    ids: list[str | None] = [message.id for message in given]
    messages = [*_to_messages(body.messages)]
    if body.context and native is None:
        context = "\n".join(f"{each.description}: {each.value}" for each in body.context)
        messages.insert(0, Message(role="system", content=context))
        ids.insert(0, None)
    params = _chat_params(body, props) if native is None else _native_params(native)
    return GenerateBody(
        messages=messages,
        model=props.model,
        upstream=props.upstream,
        params=params,
        metadata={"thread": body.thread_id, "run": body.run_id, "ids": ids},
        on_disconnect=props.on_disconnect,
    )


def _chat_params(body: RunAgentInput, props: ForwardedProps) -> dict[str, Any]:
    params = dict(props.params)
    if body.tools:
        params["tools"] = [
            {"type": "function", "function": {"name": tool.name, "description": tool.description,
                                              "parameters": tool.parameters or {}}}
            for tool in body.tools
        ]  # fmt: skip
    return params


def _native_params(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a run for an agent.

    Empty fields are left out: clients always send them, and the settings may have values for them.
    """
    props = raw.get("forwardedProps")
    given = props if isinstance(props, dict) else {}
    others = {name: value for name, value in given.items() if name not in _HUB_PROPS}
    fields = {name: raw.get(name) for name in ("state", "context", "tools")}
    fields["forwardedProps"] = others
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def _to_messages(given: Sequence[AgUiMessage]) -> Iterator[Message]:
    """Yield the messages for an upstream. Reasoning belongs to the assistant's message after it."""
    reasoning: list[str] = []
    for message in given:
        if message.role == "reasoning" and isinstance(message.content, str):
            reasoning.append(message.content)
        elif message.role not in _NOT_SENT:
            converted = message.to_message()
            if reasoning and message.role == "assistant":
                text = "\n".join(reasoning)
                converted = msgspec.structs.replace(converted, reasoning_content=text)
            reasoning = []
            yield converted


def _content(content: Any) -> Any:
    """Return the content for chat completions."""
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    """Return a part for chat completions: an image becomes `image_url`, all else is unchanged."""
    if not isinstance(part, dict) or part.get("type") not in ("image", "binary"):
        return part
    source = drop_null_members(part["source"] if isinstance(part.get("source"), dict) else part)
    url = source.get("url") or source.get("value")
    data = source.get("data")
    if url is None or (source.get("type") == "data" and data is None):
        url = f"data:{source.get('mimeType', 'image/png')};base64,{data or url}"
    return {"type": "image_url", "image_url": {"url": url}}
