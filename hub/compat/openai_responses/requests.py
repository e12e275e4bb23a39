"""The request body of OpenAI's Responses.

Source: platform.openai.com, API reference, "Create a model response". The structs name the fields
that the hub reads; every other field is a parameter for the upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.api.null_members import drop_nulls
from hub.compat.openai import passthrough_params, reject_unsupported
from hub.compat.openai_responses.input import (
    ReasoningOptions,
    TextOptions,
    check_outputs,
    to_messages,
    to_params,
)
from hub.core.generation import Message
from hub.error_codes import STREAM_REQUIRED
from hub.errors import BadRequest


class ResponsesBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. `upstream` and `on_disconnect` are the hub's own."""

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    store: bool | None = None
    include: list[str] | None = None
    stream_options: dict[str, Any] | None = None
    truncation: str | None = None
    previous_response_id: str | None = None
    max_tool_calls: int | None = None
    top_logprobs: int | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"

    @property
    def is_queued(self) -> bool:
        """Whether the client gets the response at once, before it is generated."""
        return bool(self.background and not self.stream)


class RetrieveBody(msgspec.Struct, frozen=True):
    """What some SDKs send as the body of a GET instead of in the URL."""

    stream: bool | None = None
    starting_after: int | None = None


NATIVE_KIND: Final = "openai-responses"
"""The kind of an upstream that has the Responses API itself (settings, `upstreams.*.kind`)."""
_KNOWN_FIELDS: Final = frozenset(ResponsesBody.__struct_fields__)
# Fields for OpenAI's own services. Servers of chat completions refuse a request that has them.
_LEFT_OUT_FIELDS: Final = frozenset(
    {"access_programs", "background_options", "client_metadata", "context_management", "image"}
)
_CHAT_FIELDS: Final = _KNOWN_FIELDS | _LEFT_OUT_FIELDS
# Fields that only an upstream with the Responses API understands.
_NATIVE_FIELDS: Final = frozenset({"include", "max_tool_calls", "truncation"})
# The response object repeats these fields of the request, so the generation's metadata keeps them.
_ECHOED_FIELDS: Final = (
    *("background", "instructions", "max_tool_calls", "metadata", "previous_response_id"),
    *("reasoning", "store", "text", "tool_choice", "tools"),
)


def read_responses(
    raw: dict[str, Any], earlier: Sequence[Message] = (), *, is_native: bool = False
) -> tuple[ResponsesBody, GenerateBody]:
    """Return the body and the generation that it requests.

    earlier: the messages before the input. is_native: whether the upstream has the Responses API
    itself, so that it gets what chat completions cannot express. Raise BadRequest for an invalid or
    an unsupported field.
    """
    raw = drop_nulls(raw, ResponsesBody)  # the response object repeats some of it
    body = convert_json(raw, ResponsesBody)
    reject_unsupported(raw, "conversation", "prompt", "top_logprobs")
    instructions = [Message(role="system", content=body.instructions)] if body.instructions else []
    messages = [*instructions, *earlier, *to_messages(body.input, is_native=is_native)]
    check_outputs(messages)
    generate = GenerateBody(
        messages=messages,
        model=body.model,
        upstream=body.upstream,
        params=to_params(
            passthrough_params(
                raw, (_KNOWN_FIELDS - _NATIVE_FIELDS) if is_native else _CHAT_FIELDS
            ),
            tools=body.tools,
            tool_choice=body.tool_choice,
            reasoning=body.reasoning or ReasoningOptions(),
            text=body.text or TextOptions(),
            is_native=is_native,
        ),
        metadata={name: raw[name] for name in _ECHOED_FIELDS if raw.get(name) is not None},
        on_disconnect=body.on_disconnect,
    )
    if body.is_queued and generate.stops_on_disconnect():
        raise BadRequest(
            "on_disconnect: stop needs a client that waits: remove background",
            code=STREAM_REQUIRED,
            path="on_disconnect",
        )
    return body, generate
