"""The UI message stream of Vercel's AI SDK (`useChat`), version 1 of its protocol.

Source: ai-sdk.dev, "Stream protocols", and ui-message-chunks.ts of the package `ai`. Every run ends
with `finish`, also after `abort` and `error`: clients that resume by index ask again until it came.
The numbers of the chunks are those that WorkflowChatTransport counts; `[DONE]` has none.

What was shown is taken back in a way that versions 5 to 7 survive: its parts are closed, a
`data-generation` part says that all before it is void (`restarted`) or that the text is
(`replaced`), and the new text is a part of its own. With reset_step that chunk is `reset-step`,
which version 7 takes as an order to drop the step's parts and version 6 fails at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hub.compat.answer_encoder import STOPPED, AnswerEncoderBase, data_line
from hub.compat.answer_state import GenerationEvent, call_index
from hub.compat.openai_chat.encoder import DONE
from hub.core.generation import Generation

HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}
_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}


class AiSdkEncoder(AnswerEncoderBase):
    """Implements ports.Surface. The message's id is the generation's, or the one that the question
    says (`metadata.message`): the client's own, when the answer goes on with a message it has.
    """

    trailer = DONE

    def __init__(self, record: Generation, *, reset_step: bool = False) -> None:
        super().__init__(record)
        self._reset_step = reset_step
        self._open_part: tuple[str, str] | None = None  # the open text or reasoning: kind and id
        self._part_count = 0
        self._sent_arguments: dict[
            int, int
        ] = {}  # of each call begun: how many characters of its arguments
        self._call_ids: dict[int, str] = {}
        self._retractions = 0

    def on_start(self) -> Iterator[bytes]:
        message = self.record.request.metadata.get("message")
        yield data_line(
            {
                "type": "start",
                "messageId": message if isinstance(message, str) else self.record.id,
                "messageMetadata": {"generation": self.record.id},
            }
        )
        yield data_line({"type": "start-step"})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        yield from self._append("reasoning", reasoning)

    def on_text(self, text: str) -> Iterator[bytes]:
        yield from self._append("text", text)

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_part()
        index = call_index(call)
        if index >= len(self.answer.tool_calls):
            return
        known = self.answer.tool_calls[index]
        if index not in self._sent_arguments:
            if not known.name:
                return  # it is still to come
            self._sent_arguments[index], self._call_ids[index] = 0, known.id
            head = {"toolCallId": known.id, "toolName": known.name}
            yield data_line({"type": "tool-input-start", **head})
        delta = known.arguments[self._sent_arguments[index] :]
        if delta:
            self._sent_arguments[index] = len(known.arguments)
            fields = {"toolCallId": self._call_ids[index], "inputTextDelta": delta}
            yield data_line({"type": "tool-input-delta", **fields})

    def on_replaced(self, text: str) -> Iterator[bytes]:
        yield from self._retract("replaced")
        if text:
            yield from self._append("text", text)

    def on_restarted(self) -> Iterator[bytes]:
        yield from self._retract("restarted")
        self._sent_arguments.clear()

    def on_done(self, told: GenerationEvent) -> Iterator[bytes]:
        yield from self._close_part()
        for index in sorted(self._sent_arguments):
            yield self._tool_input(index)
        reason = _FINISH_REASONS.get(told.finish_reason or "stop", "other")
        yield from self._finish(reason, usage=told.usage)

    def on_stopped(self) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_line({"type": "abort", "reason": STOPPED})
        yield from self._finish("other")

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_line({"type": "error", "errorText": message})
        yield from self._finish("error", code=code)

    def _append(self, kind: str, text: str) -> Iterator[bytes]:
        if self._open_part is None or self._open_part[0] != kind:
            yield from self._close_part()
            self._open_part = kind, f"{kind[0]}{self._part_count}"
            self._part_count += 1
            yield data_line({"type": f"{kind}-start", "id": self._open_part[1]})
        yield data_line({"type": f"{kind}-delta", "id": self._open_part[1], "delta": text})

    def _close_part(self) -> Iterator[bytes]:
        if self._open_part is not None:
            yield data_line({"type": f"{self._open_part[0]}-end", "id": self._open_part[1]})
            self._open_part = None

    def _retract(self, what: str) -> Iterator[bytes]:
        """One chunk either way, so that the numbers are the same."""
        yield from self._close_part()
        self._retractions += 1
        data = {"event": what, "generation": self.record.id}
        notice = {"type": "data-generation", "id": f"{what}-{self._retractions}", "data": data}
        yield data_line({"type": "reset-step"} if self._reset_step else notice)

    def _tool_input(self, index: int) -> bytes:
        call = self.answer.tool_calls[index]
        head = {"toolCallId": self._call_ids[index], "toolName": call.name}
        try:
            value = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            said = "the arguments are not JSON"
            fields = {"input": call.arguments, "errorText": said}
            return data_line({"type": "tool-input-error", **head, **fields})
        return data_line({"type": "tool-input-available", **head, "input": value})

    def _finish(self, reason: str, **more: Any) -> Iterator[bytes]:
        """The status too: an `abort` sets nothing that an application can see."""
        status = self.answer.status or "broken"
        said = {key: value for key, value in more.items() if value}
        metadata = {"generation": self.record.id, "status": status, **said}
        yield data_line({"type": "finish-step"})
        yield data_line({"type": "finish", "finishReason": reason, "messageMetadata": metadata})
