"""The events of AG-UI, for CopilotKit and similar clients.

Source: docs.ag-ui.com, "Events", and the package @ag-ui/core. The events are `data:` lines with LF
and without `[DONE]`. RUN_STARTED is the first event; every message and tool call is closed before
RUN_FINISHED or RUN_ERROR. If the answer restarts or its text is replaced, MESSAGES_SNAPSHOT
retracts it: the snapshot holds the messages of the request and nothing of the answer.

An input of the answer is an interrupt: the run finishes with it, and a run that resumes it streams
what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from hub.compat.answer_encoder import data_event
from hub.compat.answer_state import GenerationEvent, call_index, result_text
from hub.compat.input_pauses import PausingEncoder, input_id
from hub.core.generation import Generation, Message


class AgUiEncoder(PausingEncoder):
    """Implements ports.AnswerEncoder.

    The request's metadata holds `thread`, `run`, and `ids`: the client's ids of the messages, in
    their order. has_activities: whether the client knows ACTIVITY_SNAPSHOT. run: the id of the run
    that resumes the answer behind an input.
    """

    def __init__(
        self,
        record: Generation,
        *,
        has_activities: bool = False,
        behind: str | None = None,
        run: str = "",
    ) -> None:
        super().__init__(record, behind)
        self._has_activities = has_activities
        metadata = record.request.metadata
        self._run = {
            "threadId": metadata.get("thread") or record.id,
            "runId": run or metadata.get("run") or record.id,
        }
        self._open_message: tuple[str, str] | None = None  # `text` or `reasoning`, and its id
        self._message_count = 0
        # By the index of each open tool call: the number of characters sent of its arguments, and
        # the id that it was sent with.
        self._sent_arguments: dict[int, int] = {}
        self._call_ids: dict[int, str] = {}
        self._ended_calls: set[int] = set()  # those that have their result
        self._steps: list[str] = []  # the names of the open steps
        self._parent_id = ""  # the message that the tool calls belong to

    def on_start(self) -> Iterator[bytes]:
        yield _event("RUN_STARTED", **self._run)
        yield _custom_event("generation", {"generation": self.record.id})

    def on_reasoning(self, reasoning: str) -> Iterator[bytes]:
        yield from self._open("reasoning")
        yield self._message_event("REASONING_MESSAGE_CONTENT", delta=reasoning)

    def on_text(self, text: str) -> Iterator[bytes]:
        yield from self._open("text")
        yield self._message_event("TEXT_MESSAGE_CONTENT", delta=text)

    def on_reasoning_details(self, details: list[dict[str, Any]]) -> Iterator[bytes]:
        yield _custom_event("reasoning_details", details)

    def on_annotations(self, annotations: list[dict[str, Any]]) -> Iterator[bytes]:
        yield _custom_event("annotations", annotations)

    def on_tool_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close()
        index = call_index(call)
        if index >= len(self.answer.tool_calls):
            return
        call_state = self.answer.tool_calls[index]
        if index not in self._sent_arguments:
            if not call_state.name:
                return  # the name comes with a later delta
            self._sent_arguments[index], self._call_ids[index] = 0, call_state.id
            self._parent_id = self._parent_id or f"m_{self.record.id}_calls"
            head = {"toolCallId": call_state.id, "toolCallName": call_state.name}
            yield _event("TOOL_CALL_START", **head, parentMessageId=self._parent_id)
        delta = call_state.arguments[self._sent_arguments[index] :]
        if delta:
            self._sent_arguments[index] = len(call_state.arguments)
            yield _event("TOOL_CALL_ARGS", toolCallId=self._call_ids[index], delta=delta)

    def on_tool_result(self, index: int, part: dict[str, Any]) -> Iterator[bytes]:
        call_id = self._call_ids.get(index)
        if call_id is None:
            return
        yield from self._close()
        if index not in self._ended_calls:
            self._ended_calls.add(index)
            yield _event("TOOL_CALL_END", toolCallId=call_id)
        message_id = f"m_{self.record.id}_result_{index}"
        content = result_text(part["result"])
        yield _event(
            "TOOL_CALL_RESULT",
            messageId=message_id,
            toolCallId=call_id,
            content=content,
            role="tool",
        )

    def on_source(self, part: dict[str, Any]) -> Iterator[bytes]:
        yield _custom_event("source", _fields(part, "url", "title", "id"))

    def on_file(self, part: dict[str, Any]) -> Iterator[bytes]:
        yield _custom_event("file", _fields(part, "url", "data", "media_type", "name"))

    def on_status(self, text: str) -> Iterator[bytes]:
        yield _custom_event("status", {"text": text})
        if self._has_activities:  # the same id each time: it replaces the status before
            yield _event(
                "ACTIVITY_SNAPSHOT",
                messageId=f"m_{self.record.id}_status",
                activityType="status",
                content={"text": text},
            )

    def on_step(self, name: str, *, is_start: bool) -> Iterator[bytes]:
        """Begin or end a step. Clients fail on a step that begins or ends twice."""
        if is_start == (name in self._steps):
            return
        if is_start:
            self._steps.append(name)
            yield _event("STEP_STARTED", stepName=name)
        else:
            self._steps.remove(name)
            yield _event("STEP_FINISHED", stepName=name)

    def on_data(self, part: dict[str, Any]) -> Iterator[bytes]:
        name, value = part["name"], part["value"]
        if name == "state":
            yield _event("STATE_SNAPSHOT", snapshot=value)
        elif name == "state_delta" and isinstance(value, list):
            yield _event("STATE_DELTA", delta=value)
        else:
            yield _custom_event(name, value)

    def on_input_requested(self, request: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close()

    def on_input_received(self, received: dict[str, Any]) -> Iterator[bytes]:
        yield _custom_event("input_received", _fields(received, "input", "value", "by"))

    def on_pause(self, request: dict[str, Any]) -> Iterator[bytes]:
        yield from self._close_run()
        outcome = {"type": "interrupt", "interrupts": [_interrupt(self.record.id, request)]}
        yield _event("RUN_FINISHED", **self._run, outcome=outcome)

    def on_resume(self) -> Iterator[bytes]:
        self._open_message = None
        self._ended_calls.update(self._sent_arguments)
        self._steps = []
        yield from self.on_start()

    def on_replaced(self, text: str) -> Iterator[bytes]:
        yield from self._retract()
        if text:
            yield from self.on_text(text)
        # The tool calls are still valid, but the snapshot has retracted them with the text.
        for index, call in enumerate(self.answer.tool_calls):
            yield from self.on_tool_call({"index": index})
            if call.result is not UNSET:
                yield from self.on_tool_result(index, {"result": call.result})

    def on_restarted(self) -> Iterator[bytes]:
        yield from self._finish_steps()
        yield from self._retract()

    def on_done(self, event: GenerationEvent) -> Iterator[bytes]:
        yield from self._close_run()
        result = {"finishReason": event.finish_reason, "usage": event.usage}
        yield _event("RUN_FINISHED", **self._run, result=result)

    def on_stopped(self) -> Iterator[bytes]:
        yield from self._close_run()
        yield _custom_event("generation.stopped", {"generation": self.record.id})
        yield _event("RUN_FINISHED", **self._run, result={"finishReason": "stopped"})

    def on_failed(self, code: str, message: str) -> Iterator[bytes]:
        yield from self._close_run()
        yield _event("RUN_ERROR", message=message, code=code)

    def _open(self, kind: str) -> Iterator[bytes]:
        if self._open_message is not None and self._open_message[0] == kind:
            return
        yield from self._close()
        self._open_message = kind, f"m_{self.record.id}_{self._message_count}"
        self._message_count += 1
        if kind == "text":
            self._parent_id = self._open_message[1]
            yield self._message_event("TEXT_MESSAGE_START", role="assistant")
        else:
            yield self._message_event("REASONING_START")
            yield self._message_event("REASONING_MESSAGE_START", role="reasoning")

    def _close(self) -> Iterator[bytes]:
        if self._open_message is None:
            return
        if self._open_message[0] == "text":
            yield self._message_event("TEXT_MESSAGE_END")
        else:
            yield self._message_event("REASONING_MESSAGE_END")
            yield self._message_event("REASONING_END")
        self._open_message = None

    def _close_all(self) -> Iterator[bytes]:
        yield from self._close()
        for index in sorted(self._sent_arguments):
            call_id = self._call_ids.pop(index)
            if index not in self._ended_calls:
                yield _event("TOOL_CALL_END", toolCallId=call_id)
        self._sent_arguments.clear()
        self._ended_calls.clear()

    def _close_run(self) -> Iterator[bytes]:
        yield from self._close_all()
        yield from self._finish_steps()

    def _finish_steps(self) -> Iterator[bytes]:
        for name in self._steps:
            yield _event("STEP_FINISHED", stepName=name)
        self._steps = []

    def _retract(self) -> Iterator[bytes]:
        yield from self._close_all()
        self._parent_id = ""
        ids = self.record.request.metadata.get("ids")
        yield _event(
            "MESSAGES_SNAPSHOT", messages=_known_messages(ids, self.record.request.messages)
        )

    def _message_event(self, kind: str, **fields: Any) -> bytes:
        assert self._open_message is not None
        return _event(kind, messageId=self._open_message[1], **fields)


def _event(kind: str, **fields: Any) -> bytes:
    return data_event({"type": kind, **fields})


def _custom_event(name: str, value: Any) -> bytes:
    return _event("CUSTOM", name=name, value=value)


def _interrupt(generation: str, request: dict[str, Any]) -> dict[str, Any]:
    options, schema = request["options"], request["schema"]
    interrupt = {
        "id": input_id(generation, request),
        "reason": "tool_call" if request["tool_call"] else "input_required",
        "message": request["prompt"],
        "toolCallId": request["tool_call"],
        "responseSchema": {"enum": options} if options else schema,
        "expiresAt": datetime.fromtimestamp(request["expires_at"], UTC).isoformat(),
        "metadata": {"input": request["input"]},
    }
    return {name: value for name, value in interrupt.items() if value is not None}


def _fields(part: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part[name] for name in names if name in part}


def _known_messages(ids: Any, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the request's messages that came from the client, in its form.

    ids: from the metadata, where another API that started the generation may have any value.
    """
    known = []
    for id_, message in zip(ids if isinstance(ids, list) else (), messages, strict=False):
        if not isinstance(id_, str):
            continue  # the hub added this message for the run's context
        fields: dict[str, Any] = {"id": id_, "role": message.role}
        if message.content is not None:
            fields["content"] = message.content
        if message.tool_calls:
            fields["toolCalls"] = message.tool_calls
        if message.tool_call_id:
            fields["toolCallId"] = message.tool_call_id
        known.append(fields)
    return known
