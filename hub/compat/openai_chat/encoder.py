"""OpenAI's chat completions: chunks while the answer streams, one object when it is whole.

Source: platform.openai.com, API reference, "Chat completions". `data:` lines only: no `id:`, no
`retry:`, no event names, which its SDKs trip over. Nothing shown can be taken back: an answer that
is begun anew goes on where it repeats what was shown, and is an error where it does not. Reasoning
comes as `reasoning_content`, as DeepSeek, vLLM and others have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hub.compat.answer_encoder import STOPPED, STOPPED_CODE, AnswerEncoderBase, data_line
from hub.compat.answer_state import (
    AlreadySentTextChanged,
    AnswerState,
    AppendOnlyText,
    GenerationEvent,
)
from hub.core.generation import Generation

DONE: Final = b"data: [DONE]\n\n"
_FINISH_REASONS: Final = {"refusal": "content_filter"}
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_document(
    status: int, message: str, *, code: str | None = None, path: str | None = None
) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": path, "code": code}}


class ChatCompletionEncoder(AnswerEncoderBase):
    """Implements ports.Surface. include_usage: a last chunk has the usage, when it is known."""

    trailer = DONE

    def __init__(self, record: Generation, *, include_usage: bool = False) -> None:
        super().__init__(record)
        self._include_usage = include_usage
        self._sent = AppendOnlyText()
        self._has_tool_calls = False

    def on_start(self) -> Iterator[bytes]:
        yield self._delta({"role": "assistant", "content": ""})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        yield self._delta({"reasoning_content": reasoning})

    def on_text(self, text: str) -> Iterator[bytes]:
        if new := self._sent.add(text):
            yield self._delta({"content": new})

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        self._has_tool_calls = True
        yield self._delta({"tool_calls": [call]})

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._sent.restart()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        if self._has_tool_calls:
            raise AlreadySentTextChanged
        self._sent.restart()
        yield from ()

    def on_done(self, told: GenerationEvent) -> Iterator[bytes]:
        self._sent.end()
        yield self._delta({}, finish_reason=chat_finish_reason(told))
        if self._include_usage and (usage := usage_with_total(told.usage)):
            yield data_line({**self._head_fields(), "choices": [], "usage": usage})

    def on_stopped(self) -> Iterator[bytes]:
        yield data_line(error_document(409, STOPPED, code=STOPPED_CODE))

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield data_line(error_document(502, message, code=code))

    def _delta(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return data_line({**self._head_fields(), "choices": [choice]})

    def _head_fields(self) -> dict[str, Any]:
        return _chunk_head(self.record, "chat.completion.chunk")


def chat_completion(record: Generation, answer: AnswerState) -> dict[str, Any]:
    """The whole of an answer that is done."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.tool_calls
        ]
    elif message["content"] is None:
        message["content"] = ""
    finish_reason = chat_finish_reason(answer.end)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    whole = {**_chunk_head(record, "chat.completion"), "choices": [choice]}
    usage = usage_with_total(answer.end.usage)
    return {**whole, "usage": usage} if usage else whole


def chat_finish_reason(told: GenerationEvent) -> str:
    """Why it is complete, in OpenAI's words."""
    reason = told.finish_reason or "stop"
    return _FINISH_REASONS.get(reason, reason)


def usage_with_total(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """With a total; None where the upstream did not tell."""
    if not usage:
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return {
        **{name: value for name, value in usage.items() if value is not None},
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": _count(usage, "total_tokens") or prompt + completion,
    }


def _count(usage: Mapping[str, Any], name: str) -> int:
    """Upstreams say what they like: what is no number counts as none."""
    value = usage.get(name)
    return int(value) if isinstance(value, int | float) else 0


def _chunk_head(record: Generation, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{record.id}",
        "object": kind,
        "created": int(record.requested_at),
        "model": record.request.model,
    }
