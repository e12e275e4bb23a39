"""The request body of OpenAI's chat completions.

Source: platform.openai.com, API reference, "Create chat completion". The structs name the fields
that the hub reads; every other field is a parameter for the upstream.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.openai import passthrough_params, reject_unsupported
from hub.core.generation import Message
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest


class ChatMessage(msgspec.Struct, frozen=True):
    """One message. Other fields, which clients copy from earlier answers, are ignored.

    reasoning: OpenRouter's name of reasoning_content.
    """

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: list[dict[str, Any]] | None = None

    def to_message(self) -> Message:
        """Return the message as the hub stores it."""
        reasoning = self.reasoning if isinstance(self.reasoning, str) else None
        return Message(
            role=self.role,
            content=self.content,
            name=self.name,
            tool_calls=self.tool_calls or None,
            tool_call_id=self.tool_call_id,
            reasoning_content=self.reasoning_content or reasoning,
            reasoning_details=self.reasoning_details or None,
        )


class StreamOptions(msgspec.Struct, frozen=True):
    """The field `stream_options`."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. `upstream` and `on_disconnect` are the hub's own."""

    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"


_KNOWN_FIELDS: Final = frozenset(ChatBody.__struct_fields__)


def read_chat(raw: dict[str, Any]) -> tuple[ChatBody, GenerateBody]:
    """Return the body and the generation that it requests.

    Raise BadRequest for an invalid or an unsupported field.
    """
    body = convert_json(raw, ChatBody)
    if body.n not in (None, 1):
        raise BadRequest(
            "n must be 1: the hub generates one answer per request",
            code=UNSUPPORTED_PARAMETER,
            path="n",
        )
    reject_unsupported(raw, "logprobs", "audio")
    return body, GenerateBody(
        messages=[message.to_message() for message in body.messages],
        model=body.model,
        upstream=body.upstream,
        params=passthrough_params(raw, _KNOWN_FIELDS),
        metadata=body.metadata or {},
        on_disconnect=body.on_disconnect,
    )
