"""The wire formats of the simulated LLM: the bytes that an endpoint of each kind sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

MODEL: Final = "simulated-1"
SSE: Final = "text/event-stream; charset=utf-8"
NDJSON: Final = "application/x-ndjson"


class Format(Protocol):
    """Builds the bytes of one answer: start, tokens and end, or an error instead of the rest."""

    content_type: str

    def start(self) -> bytes: ...

    def token(self, text: str) -> bytes: ...

    def end(self, usage: Mapping[str, int]) -> bytes: ...

    def error(self, message: str) -> bytes: ...


def sse(data: Any, event: str | None = None) -> bytes:
    """Return one server-sent event; data that is not bytes is encoded as JSON."""
    text = data if isinstance(data, bytes) else msgspec.json.encode(data)
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    return name + b"data: " + text + b"\n\n"


class OpenAiFormat:
    """OpenAI's chat completions. include_usage: the value in `stream_options`."""

    content_type = SSE

    def __init__(self, *, include_usage: bool = True) -> None:
        self._include_usage = include_usage

    def start(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def token(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def end(self, usage: Mapping[str, int]) -> bytes:
        last = self._chunk({}, "stop")
        if self._include_usage:
            last += sse({**CHUNK, "choices": [], "usage": usage})
        return last + b"data: [DONE]\n\n"

    def error(self, message: str) -> bytes:
        return sse({"error": {"message": message}})

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return sse({**CHUNK, "choices": [choice]})


class XinferenceFormat(OpenAiFormat):
    """Xinference's chat completions: CRLF, pings as comments, and errors as text."""

    def start(self) -> bytes:
        return b": ping - 2026-01-01 00:00:00\r\n\r\n" + _crlf(super().start())

    def token(self, text: str) -> bytes:
        return _crlf(super().token(text))

    def end(self, usage: Mapping[str, int]) -> bytes:
        return _crlf(super().end(usage))

    def error(self, message: str) -> bytes:
        return _crlf(sse({"error": message}))


class ResponsesFormat:
    """OpenAI's Responses API: one message with one text.

    response_id: that of the response. sequence_number: that of the first event.
    """

    content_type = SSE

    def __init__(self, response_id: str = "resp_simulated", sequence_number: int = 0) -> None:
        self._response_id = response_id
        self._sequence_number = sequence_number
        self._text = ""

    def start(self) -> bytes:
        response = self._response("in_progress")
        item = {"id": "msg_simulated", "type": "message", "role": "assistant"}
        return (
            self._event("response.created", response=response)
            + self._event("response.in_progress", response=response)
            + self._event(
                "response.output_item.added",
                output_index=0,
                item={**item, "status": "in_progress", "content": []},
            )
            + self._text_event("response.content_part.added", part=_text_part(""))
        )

    def token(self, text: str) -> bytes:
        self._text += text
        return self._text_event("response.output_text.delta", delta=text)

    def end(self, usage: Mapping[str, int]) -> bytes:
        head = {"id": "msg_simulated", "type": "message", "role": "assistant"}
        item = {**head, "status": "completed", "content": [_text_part(self._text)]}
        response = self._response("completed", output=[item], usage=_input_output_usage(usage))
        return (
            self._text_event("response.output_text.done", text=self._text)
            + self._text_event("response.content_part.done", part=_text_part(self._text))
            + self._event("response.output_item.done", output_index=0, item=item)
            + self._event("response.completed", response=response)
        )

    def error(self, message: str) -> bytes:
        return self._event("error", message=message)

    def cancelled(self) -> bytes:
        """Return the last event of an answer that was cancelled."""
        return self._event("response.cancelled", response=self._response("cancelled"))

    def _response(self, status: str, **more: Any) -> Mapping[str, Any]:
        head = {"id": self._response_id, "object": "response", "model": MODEL, "status": status}
        return {**head, "output": [], "usage": None, **more}

    def _text_event(self, kind: str, **fields: Any) -> bytes:
        indexes = {"item_id": "msg_simulated", "output_index": 0, "content_index": 0}
        return self._event(kind, **indexes, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return sse(event, kind)


def _text_part(text: str) -> Mapping[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


class AnthropicFormat:
    """Anthropic's Messages API."""

    content_type = SSE

    def start(self) -> bytes:
        block = {"type": "text", "text": ""}
        usage = {"input_tokens": 1, "output_tokens": 1}
        return (
            self._event("message_start", message={"id": "m", "usage": usage})
            + self._event("content_block_start", index=0, content_block=block)
            + self._event("ping")
        )

    def token(self, text: str) -> bytes:
        return self._event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": text}
        )

    def end(self, usage: Mapping[str, int]) -> bytes:
        return (
            self._event("content_block_stop", index=0)
            + self._event(
                "message_delta", delta={"stop_reason": "end_turn"}, usage=_input_output_usage(usage)
            )
            + self._event("message_stop")
        )

    def error(self, message: str) -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": message})

    def _event(self, kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)


class OllamaFormat:
    """Ollama's own chat API."""

    content_type = NDJSON

    def start(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        return self._line(message={"role": "assistant", "content": text}, done=False)

    def end(self, usage: Mapping[str, int]) -> bytes:
        return self._line(
            message={"role": "assistant", "content": ""},
            done=True,
            done_reason="stop",
            prompt_eval_count=usage["prompt_tokens"],
            eval_count=usage["completion_tokens"],
        )

    def error(self, message: str) -> bytes:
        return msgspec.json.encode({"error": message}) + b"\n"

    def _line(self, **fields: Any) -> bytes:
        return msgspec.json.encode({"model": MODEL, **fields}) + b"\n"


class DashScopeFormat:
    """DashScope's text generation. incremental: an event holds the new text, not all so far."""

    content_type = "text/event-stream;charset=UTF-8"

    def __init__(self) -> None:
        self.incremental = False
        self._text = ""
        self._sequence_number = 0

    def start(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        self._text = text if self.incremental else self._text + text
        return self._event({"output": {"text": self._text, "finish_reason": "null"}})

    def end(self, usage: Mapping[str, int]) -> bytes:
        output = {"text": "" if self.incremental else self._text, "finish_reason": "stop"}
        return self._event({"output": output, "usage": _input_output_usage(usage)})

    def error(self, message: str) -> bytes:
        return self._event({"code": "InternalError", "message": message}, "error")

    def _event(self, data: Mapping[str, Any], event: str = "result") -> bytes:
        self._sequence_number += 1
        return b"id:%d\nevent:%b\n:HTTP_STATUS/200\ndata:%b\n\n" % (
            self._sequence_number,
            event.encode(),
            msgspec.json.encode(data),
        )


class AgUiFormat:
    """The events of an AG-UI agent."""

    content_type = SSE

    def start(self) -> bytes:
        started = sse({"type": "RUN_STARTED", **_RUN})
        return started + self._event("TEXT_MESSAGE_START", role="assistant")

    def token(self, text: str) -> bytes:
        return self._event("TEXT_MESSAGE_CONTENT", delta=text)

    def end(self, usage: Mapping[str, int]) -> bytes:
        counts = {"inputTokens": usage["prompt_tokens"], "outputTokens": usage["completion_tokens"]}
        finished = sse({"type": "RUN_FINISHED", **_RUN, "usage": [counts]})
        return self._event("TEXT_MESSAGE_END") + finished

    def error(self, message: str) -> bytes:
        return sse({"type": "RUN_ERROR", "message": message})

    def _event(self, kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, "messageId": "m", **fields})


class AiSdkFormat:
    """The UI message stream of the AI SDK."""

    content_type = SSE

    def start(self) -> bytes:
        chunks = ({"type": "start"}, {"type": "start-step"}, {"type": "text-start", "id": "t"})
        return b"".join(map(sse, chunks))

    def token(self, text: str) -> bytes:
        return sse({"type": "text-delta", "id": "t", "delta": text})

    def end(self, usage: Mapping[str, int]) -> bytes:
        counts = {"inputTokens": usage["prompt_tokens"], "outputTokens": usage["completion_tokens"]}
        finish = {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": counts}}
        ends = ({"type": "text-end", "id": "t"}, {"type": "finish-step"}, finish)
        return b"".join(map(sse, ends)) + b"data: [DONE]\n\n"

    def error(self, message: str) -> bytes:
        return sse({"type": "error", "errorText": message})


class ChatGlmFormat:
    """Plain text with all text so far in each event; the end of the connection ends the answer."""

    content_type = SSE

    def __init__(self) -> None:
        self._text = ""

    def start(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        self._text += text
        lines = self._text.encode().split(b"\n")
        return b"".join(b"data: " + line + b"\r\n" for line in lines) + b"\r\n"

    def end(self, usage: Mapping[str, int]) -> bytes:
        return b""

    def error(self, message: str) -> bytes:
        return sse(message.encode(), "error")


class EnvelopeFormat:
    """`{"code":200,"data":…}`, closed by `{"code":-200}`."""

    content_type = SSE

    def start(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        return sse({"code": 200, "data": text})

    def end(self, usage: Mapping[str, int]) -> bytes:
        return sse({"code": -200, "data": None})

    def error(self, message: str) -> bytes:
        return sse({"code": 500, "msg": message})


class WordsFormat:
    """Plain text, closed by an event with the text `stop`."""

    content_type = SSE

    def start(self) -> bytes:
        return b""

    def token(self, text: str) -> bytes:
        return b"".join(b"data: " + line + b"\n" for line in text.encode().split(b"\n")) + b"\n"

    def end(self, usage: Mapping[str, int]) -> bytes:
        return sse(b"stop")

    def error(self, message: str) -> bytes:
        return sse(message.encode(), "error")


CHUNK: Final = {
    "id": "chatcmpl-simulated",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": MODEL,
}


_RUN: Final = {"threadId": "t", "runId": "r"}


def _crlf(frames: bytes) -> bytes:
    return frames.replace(b"\n", b"\r\n")


def _input_output_usage(usage: Mapping[str, int]) -> Mapping[str, int]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
    }
