"""OpenAI's chat completions: chunks while the answer streams, one object for a complete answer.

Source: platform.openai.com, API reference, "Chat completions". Events have only `data:` lines:
OpenAI's SDKs fail on `id:`, `retry:` and event names. A client cannot take back text: if the
answer restarts, the stream continues where the new text repeats the sent text, and fails where it
differs. An answer that failed or was stopped ends with an error event and a body without an end:
after `[DONE]` and a whole body, several clients take it for a complete answer. Reasoning is sent
as `reasoning_content`, as DeepSeek, vLLM and others do, and in the vendor's form as
`reasoning_details`, as OpenRouter does. Of the tool calls only those are sent that the client is
to run, one after the other and one in each chunk, as OpenAI does: clients such as LlamaIndex add
arguments to the newest call, and read only the first one of a chunk. Status, steps and data have no
form here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from hub.compat.answer_encoder import DONE_CHUNK, AnswerEncoderBase, data_event
from hub.compat.answer_state import (
    AnswerState,
    GenerationEvent,
    ToolCall,
    call_index,
    file_url,
)
from hub.compat.append_only import AlreadySentTextChanged, SentParts
from hub.compat.call_queue import CallQueue
from hub.compat.failures import describe_failure, describe_stream_failure
from hub.compat.openai import usage_with_total
from hub.core.generation import Generation

_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Clients validate the reason strictly; a vendor's word that is not here becomes `stop`."""


class _SentCall(msgspec.Struct):
    """What was sent of a tool call.

    index: its number among the sent calls. characters: those of its arguments. extras: as in
    ToolCall.
    """

    index: int
    characters: int = 0
    extras: dict[str, Any] = {}


class ChatCompletionEncoder(AnswerEncoderBase):
    """Implements ports.AnswerEncoder.

    include_usage: whether a last chunk carries the token usage, if the upstream reported it.
    """

    trailer = DONE_CHUNK

    def __init__(self, record: Generation, *, include_usage: bool = False) -> None:
        super().__init__(record)
        self._include_usage = include_usage
        self._sent = SentParts()
        self._counts: dict[str, int] = {}  # of the entries sent in each list
        self._calls = CallQueue()
        self._sent_calls: dict[int, _SentCall] = {}  # by the index in the answer

    def on_start(self) -> Iterator[bytes]:
        yield self._delta({"role": "assistant", "content": ""})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        if new := self._sent.reasoning.add(reasoning):
            yield self._delta({"reasoning_content": new})

    def on_text(self, text: str) -> Iterator[bytes]:
        if new := self._sent.text.add(text):
            yield self._delta({"content": new})

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        index, calls = call_index(call), self.answer.tool_calls
        if index >= len(calls) or not calls[index].name or calls[index].run_by != "client":
            return  # the name comes with a later delta, or the producer runs the tool
        self._calls.add(index)
        if index not in self._calls and self._has_more(index):
            yield from self._send_call(index)  # more than a JSON object, or another field
        while (current := self._calls.current) is not None:
            yield from self._send_call(current)
            if not (self._calls.has_waiting and self._calls.has_arguments(calls)):
                return
            self._calls.finish()

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        if new := self._sent.reasoning_details.add(details):
            yield self._delta({"reasoning_details": self._indexed("reasoning_details", new)})

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        if new := self._sent.annotations.add(annotations):
            yield self._delta({"annotations": self._indexed("annotations", new)})

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        images = _images([part])
        if images and self._sent.is_new_image(part):
            yield self._delta({"images": self._indexed("images", images)})

    def on_replaced(self, text: str) -> Iterator[bytes]:
        self._sent.text.restart()
        yield from self.on_text(text)

    def on_restarted(self) -> Iterator[bytes]:
        if self._sent_calls:
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_cut(self, parts: list[dict[str, Any]]) -> Iterator[bytes]:
        if self._sent_calls and self.answer.are_calls_cut:
            raise AlreadySentTextChanged
        self._sent.restart(self.answer)
        yield from ()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        self._sent.end()
        while (current := self._calls.current) is not None:
            yield from self._send_call(current)
            self._calls.finish()
        yield self._delta({}, finish_reason=finish_reason_of(event))
        if self._include_usage and (usage := usage_with_total(event.usage)):
            yield self._chunk({"choices": [], "usage": usage})

    def on_stopped(self) -> Iterator[bytes]:
        self.is_broken = True
        yield data_event(describe_failure(self.answer).document())

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        self.is_broken = True
        yield data_event(describe_stream_failure(self.answer, code, message).document())

    def _indexed(self, name: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the entries of a list with their indexes, without which openai-python fails."""
        first = self._counts.get(name, 0)
        self._counts[name] = first + len(entries)
        return [{"index": first + n, **entry} for n, entry in enumerate(entries)]

    def _has_more(self, index: int) -> bool:
        """Whether there is more of a call that has ended than white space behind its arguments."""
        call, sent = self.answer.tool_calls[index], self._sent_calls[index]
        return call.extras != sent.extras or bool(call.arguments[sent.characters :].strip())

    def _send_call(self, index: int) -> Iterator[bytes]:
        """Send what is new of a call."""
        call = self.answer.tool_calls[index]
        delta: dict[str, Any] = {}
        function: dict[str, Any] = {}
        if (sent := self._sent_calls.get(index)) is None:
            sent = self._sent_calls[index] = _SentCall(len(self._sent_calls))
            delta, function = {"id": call.id, "type": "function"}, {"name": call.name}
        extras = {
            name: value
            for name, value in call.extras.items()
            if name not in sent.extras or sent.extras[name] != value
        }
        arguments = call.arguments[sent.characters :]
        sent.characters, sent.extras = len(call.arguments), dict(call.extras)
        if delta or extras or arguments:
            function = {**function, "arguments": arguments}
            call_delta = {"index": sent.index, **delta, **extras, "function": function}
            yield self._delta({"tool_calls": [call_delta]})

    def _delta(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk({"choices": [choice]})

    def _chunk(self, fields: dict[str, Any]) -> bytes:
        return data_event({**self._head(), **fields})

    def _head(self) -> dict[str, Any]:
        return _head(self.record, "chat.completion.chunk")


def chat_completion(record: Generation, answer: AnswerState) -> dict[str, Any]:
    """Return a complete answer as one object."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.reasoning_details:
        message["reasoning_details"] = answer.reasoning_details
    if answer.annotations:
        message["annotations"] = answer.annotations
    if images := _images(answer.files):
        message["images"] = images
    calls = [call for call in answer.tool_calls if call.run_by == "client"]
    if calls:
        message["tool_calls"] = [_to_object(call) for call in calls]
    elif message["content"] is None:
        message["content"] = ""
    finish_reason = finish_reason_of(answer.end)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    completion = {**_head(record, "chat.completion"), "choices": [choice]}
    usage = usage_with_total(answer.end.usage)
    return {**completion, "usage": usage} if usage else completion


def _to_object(call: ToolCall) -> dict[str, Any]:
    """Return a whole tool call."""
    function = {"name": call.name, "arguments": call.arguments}
    return {**call.extras, "id": call.id, "type": "function", "function": function}


def _images(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the images among the files in the form of OpenRouter."""
    return [
        {"type": "image_url", "image_url": {"url": file_url(file)}}
        for file in files
        if file["media_type"].startswith("image/")
    ]


def finish_reason_of(event: GenerationEvent) -> str:
    """Return the reason in the words of chat completions."""
    reason = event.finish_reason or "stop"
    return _FINISH_REASONS.get(reason, "stop")


def _head(record: Generation, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{record.id}",
        "object": kind,
        "created": int(record.requested_at),
        "model": record.request.model,
    }
