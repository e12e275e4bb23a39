"""The UI message stream of Vercel's AI SDK (`useChat`), version 1 of the protocol.

Source: ai-sdk.dev, "Stream protocols", and ui-message-chunks.ts of the package `ai`. Every run ends
with `finish`, also after `abort` and `error`: clients that resume by index repeat their request
until they receive it. The chunk numbers are those that WorkflowChatTransport counts; `[DONE]` has
no number.

If the answer restarts or its text is replaced, the encoder retracts what it has sent in a way that
versions 5 to 7 of the SDK survive: it closes the open part, sends a `data-generation` part whose
event is `restarted` (everything before it is void) or `replaced` (the text before it is void), and
sends the new text as a new part, in a new step if void tool calls were sent. With `reset_step` that
chunk is `reset-step` instead: version 7 then drops the parts of the step, but version 6 fails.

An input of the answer ends the stream. A decision between two options is a `tool-approval-request`
(version 6 and later); any other input is a call of the tool `request_input`, whose output the
client adds. The request that has the client's decision continues the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from hub.compat.answer_encoder import DONE_CHUNK, STOPPED, data_event
from hub.compat.answer_state import GenerationEvent, call_index, file_url, result_text
from hub.compat.input_pauses import PausingEncoder, input_id
from hub.core.generation import Generation

HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}
_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
    "refusal": "content-filter",
}


INPUT_TOOL: Final = "request_input"
"""The name of the calls that ask for an input which belongs to no call of the answer."""


class _Decision(NamedTuple):
    """An input that was sent. tool_call: the call that it approves. is_own_call: whether the hub
    has made up a call for it. refusal: the option that refuses, if it has two.
    """

    tool_call: str
    is_own_call: bool
    refusal: list[str]

    def is_refused_by(self, value: Any) -> bool:
        return value in self.refusal


class AiSdkEncoder(PausingEncoder):
    """Implements ports.AnswerEncoder.

    The message's id is `metadata.message` of the request if the client continues one of its own
    messages, and the generation's id otherwise. reset_step: see the module. message: the id of the
    client's message that a stream behind an input continues.
    """

    trailer = DONE_CHUNK

    def __init__(
        self,
        record: Generation,
        *,
        reset_step: bool = False,
        behind: str | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(record, behind)
        self._message = message or record.request.metadata.get("message")
        self._decisions: dict[str, _Decision] = {}  # by the key of the input
        self._reset_step = reset_step
        self._open_part: tuple[str, str] | None = (
            None  # the open part: `text` or `reasoning`, and id
        )
        self._part_count = 0
        self._source_count = 0
        # By the index of each tool call that was sent: the number of characters sent of its
        # arguments, and the id that it was sent with.
        self._sent_arguments: dict[int, int] = {}
        self._call_ids: dict[int, str] = {}
        self._sent_inputs: set[int] = set()  # the calls whose whole input was sent
        self._executed: set[int] = set()  # the calls that were sent as those of the producer
        self._retractions = 0  # numbers the `data-generation` parts

    def on_start(self) -> Iterator[bytes]:
        message = self._message if isinstance(self._message, str) else self.record.id
        yield data_event(
            {
                "type": "start",
                "messageId": message,
                "messageMetadata": {"generation": self.record.id},
            }
        )
        yield data_event({"type": "start-step"})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        yield from self._append("reasoning", reasoning)

    def on_text(self, text: str) -> Iterator[bytes]:
        yield from self._append("text", text)

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        """Close a part of reasoning with the details, which the client sends back in its part."""
        if self._open_part is None or self._open_part[0] != "reasoning":
            yield from self._begin_part("reasoning")
        yield from self._close_part(providerMetadata={"hub": {"reasoningDetails": details}})

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        for annotation in annotations:
            citation = annotation.get("url_citation")
            if isinstance(citation, dict) and citation.get("url"):
                yield from self._close_part()
                self._source_count += 1
                source = {"sourceId": f"s{self._source_count}", "url": str(citation["url"])}
                title = {"title": str(citation["title"])} if citation.get("title") else {}
                yield data_event({"type": "source-url", **source, **title})

    def on_source(self, part: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_part()
        self._source_count += 1
        source = {"sourceId": part.get("id") or f"s{self._source_count}", "url": part["url"]}
        title = {"title": part["title"]} if part.get("title") else {}
        yield data_event({"type": "source-url", **source, **title})

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_event({"type": "file", "url": file_url(part), "mediaType": part["media_type"]})

    def on_status(self, text: str) -> Iterator[bytes]:
        yield data_event({"type": "data-status", "data": {"text": text}, "transient": True})

    def on_step(self, name: str, *, is_start: bool) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_event({"type": "start-step" if is_start else "finish-step"})

    def on_data(self, part: dict[str, Any]) -> Iterator[bytes]:
        fields: dict[str, Any] = {k: part[k] for k in ("id", "transient") if k in part}
        if not part.get("transient"):
            yield from self._close_part()
        yield data_event({"type": f"data-{part['name']}", **fields, "data": part["value"]})

    def on_tool_result(self, index: int, part: dict[str, Any]) -> Iterator[bytes]:
        if index not in self._sent_arguments:
            return
        yield from self._close_part()
        yield from self._finish_input(index)
        head: dict[str, Any] = {"toolCallId": self._call_ids[index], **self._executed_by(index)}
        if part.get("is_error"):
            error_text = result_text(part["result"])
            yield data_event({"type": "tool-output-error", **head, "errorText": error_text})
        else:
            yield data_event({"type": "tool-output-available", **head, "output": part["result"]})

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_part()
        index = call_index(call)
        if index >= len(self.answer.tool_calls):
            return
        call_state = self.answer.tool_calls[index]
        if index not in self._sent_arguments:
            if not call_state.name:
                return  # the name comes with a later delta
            self._sent_arguments[index], self._call_ids[index] = 0, call_state.id
            head = {"toolCallId": call_state.id, "toolName": call_state.name}
            yield data_event({"type": "tool-input-start", **head, **self._executed_by(index)})
        delta = call_state.arguments[self._sent_arguments[index] :]
        if delta:
            self._sent_arguments[index] = len(call_state.arguments)
            fields = {"toolCallId": self._call_ids[index], "inputTextDelta": delta}
            yield data_event({"type": "tool-input-delta", **fields})

    def on_input_requested(self, request: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_part()
        id_ = input_id(self.record.id, request)
        index = self.answer.find_call(request["tool_call"] or "")
        is_own_call = index is None or index not in self._sent_arguments
        if index is not None and not is_own_call:
            yield from self._finish_input(index)
        else:
            names = ("input", "prompt", "options", "schema", "expires_at")
            value = {name: request[name] for name in names if request[name] is not None}
            head = {"toolCallId": id_, "toolName": INPUT_TOOL, "dynamic": True}
            yield data_event({"type": "tool-input-start", **head})
            yield data_event({"type": "tool-input-available", **head, "input": value})
        options = request["options"] or ()
        if len(options) == 2:
            call_id = id_ if is_own_call else request["tool_call"]
            yield data_event(
                {"type": "tool-approval-request", "approvalId": id_, "toolCallId": call_id}
            )
        self._decisions[request["input"]] = _Decision(
            request["tool_call"], is_own_call=is_own_call, refusal=[*options][1:2]
        )

    def on_input_received(self, received: dict[str, Any]) -> Iterator[bytes]:
        """Close a call that the hub has made up for the input: nobody gives it a result."""
        decision = self._decisions.get(received["input"])
        if decision is None:
            return
        yield from self._close_part()
        call_id = input_id(self.record.id, received)
        if decision.is_refused_by(received["value"]):
            call_id = call_id if decision.is_own_call else decision.tool_call
            yield data_event({"type": "tool-output-denied", "toolCallId": call_id})
        elif decision.is_own_call:
            output = {"toolCallId": call_id, "output": received["value"], "dynamic": True}
            yield data_event({"type": "tool-output-available", **output})

    def on_pause(self, request: dict[str, Any]) -> Iterator[bytes]:
        yield from self._finish("tool-calls", status="waiting")

    def on_resume(self) -> Iterator[bytes]:
        self._open_part = None
        yield from self.on_start()

    def on_replaced(self, text: str) -> Iterator[bytes]:
        yield from self._retract("replaced")
        if text:
            yield from self._append("text", text)

    def on_restarted(self) -> Iterator[bytes]:
        yield from self._retract("restarted")
        if self._sent_arguments:  # clients look for calls without a result in the last step
            yield data_event({"type": "finish-step"})
            yield data_event({"type": "start-step"})
        self._sent_arguments.clear()
        self._sent_inputs.clear()
        self._executed.clear()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        yield from self._close_part()
        for index in sorted(self._sent_arguments):
            yield from self._finish_input(index)
        reason = _FINISH_REASONS.get(event.finish_reason or "stop", "other")
        yield from self._finish(reason, usage=event.usage)

    def on_stopped(self) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_event({"type": "abort", "reason": STOPPED})
        yield from self._finish("other")

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self._close_part()
        yield data_event({"type": "error", "errorText": message})
        yield from self._finish("error", code=code)

    def _append(self, kind: str, text: str) -> Iterator[bytes]:
        if self._open_part is None or self._open_part[0] != kind:
            yield from self._begin_part(kind)
        _, id_ = self._open_part or ("", "")
        yield data_event({"type": f"{kind}-delta", "id": id_, "delta": text})

    def _begin_part(self, kind: str) -> Iterator[bytes]:
        yield from self._close_part()
        self._open_part = kind, f"{kind[0]}{self._part_count}"
        self._part_count += 1
        yield data_event({"type": f"{kind}-start", "id": self._open_part[1]})

    def _close_part(self, **fields: Any) -> Iterator[bytes]:
        if self._open_part is not None:
            kind, id_ = self._open_part
            self._open_part = None
            yield data_event({"type": f"{kind}-end", "id": id_, **fields})

    def _retract(self, reason: str) -> Iterator[bytes]:
        """Send one chunk with and without `reset_step`, so that the chunk numbers are the same."""
        yield from self._close_part()
        self._retractions += 1
        data = {"event": reason, "generation": self.record.id}
        notice = {"type": "data-generation", "id": f"{reason}-{self._retractions}", "data": data}
        yield data_event({"type": "reset-step"} if self._reset_step else notice)

    def _executed_by(self, index: int) -> dict[str, Any]:
        """Return the field that keeps a client from running a tool that the producer runs."""
        if self.answer.tool_calls[index].run_by == "producer":
            self._executed.add(index)
            return {"providerExecuted": True}
        return {"providerExecuted": False} if index in self._executed else {}

    def _finish_input(self, index: int) -> Iterator[bytes]:
        """Send the whole input of a tool call once."""
        if index not in self._sent_inputs:
            self._sent_inputs.add(index)
            yield self._tool_input(index)

    def _tool_input(self, index: int) -> bytes:
        call = self.answer.tool_calls[index]
        head: dict[str, Any] = {"toolCallId": self._call_ids[index], "toolName": call.name}
        head |= self._executed_by(index)
        if call.extras:
            head["providerMetadata"] = {"hub": call.extras}
        try:
            value = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            fields = {"input": call.arguments, "errorText": "the arguments are not valid JSON"}
            return data_event({"type": "tool-input-error", **head, **fields})
        return data_event({"type": "tool-input-available", **head, "input": value})

    def _finish(self, reason: str, **details: Any) -> Iterator[bytes]:
        # The metadata carries the status because an application cannot see an `abort` chunk.
        given = {key: value for key, value in details.items() if value}
        status = {"status": self.answer.status or "broken"}
        metadata = {"generation": self.record.id, **status, **given}
        yield data_event({"type": "finish-step"})
        yield data_event({"type": "finish", "finishReason": reason, "messageMetadata": metadata})
