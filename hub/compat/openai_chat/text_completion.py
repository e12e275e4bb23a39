"""OpenAI's older completions (`/v1/completions`): a prompt as text, and an answer as text.

The LLM gets the prompt as the message of a user, because the hub's upstreams are chats. Reasoning,
tool calls and sources have no place in this format and are left out. Failures are those of chat
completions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.answer_state import AnswerState
from hub.compat.openai import passthrough_params, reject_unsupported, usage_with_total
from hub.compat.openai_chat.encoder import ChatCompletionEncoder, finish_reason_of
from hub.compat.openai_chat.requests import StreamOptions
from hub.core.generation import Generation
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest


class CompletionBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. `upstream` and `on_disconnect` are the hub's own."""

    prompt: str | list[Any]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"


_KNOWN_FIELDS: Final = frozenset(CompletionBody.__struct_fields__)


def read_completion(raw: dict[str, Any]) -> tuple[CompletionBody, GenerateBody]:
    """Return the body and the generation that it requests.

    Raise BadRequest for an invalid or an unsupported field.
    """
    body = convert_json(raw, CompletionBody)
    for name in ("n", "best_of"):
        if raw.get(name) not in (None, 1):
            raise BadRequest(
                f"{name} must be 1: the hub generates one answer per request",
                code=UNSUPPORTED_PARAMETER,
                path=name,
            )
    reject_unsupported(raw, "echo", "logprobs", "suffix")
    return body, GenerateBody(
        prompt=_prompt(body.prompt),
        model=body.model,
        upstream=body.upstream,
        params=passthrough_params(raw, _KNOWN_FIELDS | {"echo", "suffix"}),
        on_disconnect=body.on_disconnect,
    )


def _prompt(prompt: str | list[Any]) -> str:
    """Return the only prompt. Raise BadRequest for several ones and for tokens."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    raise BadRequest(
        "prompt must be one text: the hub supports neither several prompts nor tokens",
        code=UNSUPPORTED_PARAMETER,
        path="prompt",
    )


class TextCompletionEncoder(ChatCompletionEncoder):
    """Implements ports.AnswerEncoder: the chunks have text instead of a delta."""

    def on_start(self) -> Iterator[bytes]:
        yield from ()

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        yield from ()

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        yield from ()

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        yield from ()

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        yield from ()

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        yield from ()

    def _delta(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        return self._chunk({"choices": [_choice(delta.get("content", ""), finish_reason)]})

    def _head(self) -> dict[str, Any]:
        return _head(self.record)


def text_completion(record: Generation, answer: AnswerState) -> dict[str, Any]:
    """Return a complete answer as one object."""
    completion = {**_head(record), "choices": [_choice(answer.text, finish_reason_of(answer.end))]}
    usage = usage_with_total(answer.end.usage)
    return {**completion, "usage": usage} if usage else completion


def _choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    reason = "stop" if finish_reason == "tool_calls" else finish_reason
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _head(record: Generation) -> dict[str, Any]:
    return {
        "id": f"cmpl-{record.id}",
        "object": "text_completion",
        "created": int(record.requested_at),
        "model": record.request.model,
    }
