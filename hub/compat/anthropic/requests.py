"""The request body of Anthropic's Messages.

Source: docs.claude.com, "Messages" (API reference). An upstream with Anthropic's API gets the
messages and the parameters as they are. The others get them in the words of chat completions, and
no parameter without a counterpart there: Anthropic's clients send many of them, and add new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.api.null_members import drop_null_members, drop_nulls
from hub.compat.anthropic.conversation import to_messages
from hub.compat.anthropic.errors import THREAD_FIELD
from hub.compat.anthropic.native_messages import to_native_messages
from hub.compat.anthropic.tools import to_tool_params
from hub.compat.openai import passthrough_params
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest

NATIVE_KIND: Final = "anthropic"
"""The kind of an upstream that has Anthropic's API itself (settings, `upstreams.*.kind`)."""
_OWN_FIELDS: Final = frozenset(
    {"messages", "system", "model", "stream", "upstream", "on_disconnect"}
)
_SHARED_PARAMS: Final = ("max_tokens", "temperature", "top_p", "top_k")
_EFFORTS: Final = {"max": "xhigh"}
_MAX_USER_CHARS: Final = 64  # OpenAI refuses longer ones, and command line clients send them


class InputMessage(msgspec.Struct, frozen=True):
    """One message. `content` is a text or blocks."""

    role: str
    content: str | list[dict[str, Any]]


class MessagesBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. `upstream` and `on_disconnect` are the hub's own."""

    messages: list[InputMessage]
    model: str | None = None
    system: str | list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"


def read_messages(
    raw: dict[str, Any], betas: Sequence[str] = (), *, is_native: bool = False
) -> tuple[MessagesBody, GenerateBody]:
    """Return the body and the generation that it requests.

    betas: the features that the header `anthropic-beta` names. is_native: whether the upstream has
    Anthropic's API itself. Raise BadRequest for an invalid or an unsupported field.
    """
    raw = drop_nulls(raw, MessagesBody)
    if raw.get(THREAD_FIELD) is not None:
        raise BadRequest(
            "the hub keeps no threads of messages; send the whole conversation without thread",
            code=UNSUPPORTED_PARAMETER,
            path=THREAD_FIELD,
        )
    body = convert_json(raw, MessagesBody)
    system, pairs = body.system, [(message.role, message.content) for message in body.messages]
    if is_native:
        messages, params = to_native_messages(pairs), passthrough_params(raw, _OWN_FIELDS)
        params["system"] = system or []  # see upstreams/anthropic/request.py
        if betas:
            params["anthropic_beta"] = list(betas)
    else:
        messages, params = to_messages(system, pairs), _to_params(raw, body)
    return body, GenerateBody(
        messages=messages,
        model=body.model,
        upstream=body.upstream,
        params=params,
        metadata=body.metadata or {},
        on_disconnect=body.on_disconnect,
    )


def _to_params(raw: dict[str, Any], body: MessagesBody) -> dict[str, Any]:
    """Return the parameters as chat completions name them.

    `thinking` has no counterpart: a number of tokens is no effort, and a model without reasoning
    refuses any.
    """
    params = {name: raw[name] for name in _SHARED_PARAMS if raw.get(name) is not None}
    if body.stop_sequences:
        params["stop"] = body.stop_sequences
    user = (body.metadata or {}).get("user_id")
    if isinstance(user, str) and user:
        is_long = len(user) > _MAX_USER_CHARS
        params["user"] = hashlib.sha256(user.encode()).hexdigest() if is_long else user
    output = drop_null_members(body.output_config or {})
    if "effort" in output:
        effort = output["effort"]
        params["reasoning_effort"] = _EFFORTS.get(str(effort), effort)
    form = output.get("format") or raw.get("output_format")  # the second one is the older name
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {"name": "answer", "schema": form.get("schema") or {}}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    return params | to_tool_params(body.tools or (), body.tool_choice)
