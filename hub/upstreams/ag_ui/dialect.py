"""AG-UI: the endpoint of an agent.

Source: docs.ag-ui.com, "Events", and the package @ag-ui/core (1.0). A run is complete at
RUN_FINISHED. The request is built in ag_ui/request.py.

What has no event of its own in AG-UI comes as CUSTOM with the names of the hub's own encoder
(compat/ag_ui): `status`, `source`, `file`, `annotations`, `reasoning_details`. Any other CUSTOM
event is data with its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from hub.core.finish_reasons import normalise_finish_reason
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.interrupts import UpstreamInterrupted
from hub.core.parts import (
    Annotations,
    File,
    Part,
    Reasoning,
    ReasoningDetails,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
    Usage,
)
from hub.core.sse_decoder import ServerSentEvent
from hub.core.usage import add_usage
from hub.upstreams.ag_ui.interrupts import read_interrupts
from hub.upstreams.ag_ui.messages import RunMessages
from hub.upstreams.ag_ui.request import REASONING_FORMAT, build_run, message_ids
from hub.upstreams.ag_ui.state import RunState
from hub.upstreams.agent_calls import calls_of
from hub.upstreams.content import ContentText, read_text, require_text
from hub.upstreams.dialect import (
    BEARER,
    AuthHeader,
    UpstreamRequest,
    UpstreamStreamError,
    convert_usage,
)
from hub.upstreams.framing import SSE
from hub.upstreams.reading.retracted_text import RetractedText
from hub.upstreams.reading.token_counts import convert_counts

_TEXT: Final = ("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK")
_REASONING: Final = (
    *("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK"),
    "THINKING_TEXT_MESSAGE_CONTENT",  # its name before version 0.1.11
)
_HUB_RESULT: Final = frozenset({"finishReason", "usage"})


class _Event(msgspec.Struct, gc=False, rename="camel"):
    type: str | None = None
    message_id: str | None = None
    role: str | None = None
    delta: ContentText = None
    tool_call_id: str | None = None
    tool_call_name: str | None = None
    content: Any = None
    error: Any = None
    snapshot: Any = None
    messages: list[dict[str, Any]] | None = None
    activity_type: str | None = None
    patch: list[Any] | None = None
    name: str | None = None
    value: Any = None
    step_name: str | None = None
    subagent_run_id: str | None = None
    entity_id: str | None = None
    subtype: str | None = None
    encrypted_value: str | None = None
    outcome: dict[str, Any] | None = None
    result: Any = None
    usage: list[Any] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class AgUi:
    """Implements Dialect. body: fields of every request; parameters of a request override them.

    The base URL is that of the agent.
    """

    kind: ClassVar[str] = "ag_ui"
    auth_header: ClassVar[AuthHeader] = BEARER
    path = ""
    framing = SSE

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest:
        return UpstreamRequest(body=build_run(request, context, self._body))

    def new_reader(self, request: GenerationRequest | None = None) -> _RunReader:
        return _RunReader(request)


class _RunReader:
    """Implements ResponseReader for the events of a run."""

    event_type: ClassVar[Any] = _Event
    text_events: ClassVar[frozenset[str] | None] = frozenset((*_TEXT, "MESSAGES_SNAPSHOT"))
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(self, request: GenerationRequest | None) -> None:
        self._messages = RunMessages(message_ids(request) if request else ())
        self._calls = calls_of(request)
        self._state = RunState()
        self._retracted = RetractedText()
        self._has_reasoning = False
        self._subagents: dict[str, str] = {}  # the names of those that run, by their ids
        self._is_stopped = False  # whether the agent is a hub, and somebody has stopped its answer
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        data = _decode_event(event.data)
        kind = data.type or event.name
        if kind in _TEXT:
            yield from self._retracted.replace(self._read_text(data))
        elif kind in ("RUN_FINISHED", "RUN_ERROR"):
            yield from self._retracted.flush()
            yield from self._read_end(kind, data, event)
        else:
            yield from self._retracted.replace(self._read_other(kind, data))

    def _read_other(self, kind: str, data: _Event) -> Iterator[Part]:
        match kind:
            case "TEXT_MESSAGE_START":
                self._messages.begin(data.message_id or "", data.role)
            case "TEXT_MESSAGE_END":
                self._messages.end(data.message_id or "")
            case "MESSAGES_SNAPSHOT":
                yield from self._read_messages(data.messages or [])
            case "CUSTOM":
                yield from self._read_custom(data.name or "", data.value)
            case "REASONING_ENCRYPTED_VALUE":
                yield from self._read_encrypted(data)
            case _ if kind in _REASONING:
                if text := require_text(data.delta):
                    self._has_reasoning = True
                    yield Reasoning(text)
            case _ if kind.startswith("TOOL_CALL_"):
                yield from self._read_call(kind, data)
            case _ if kind.startswith(("STATE_", "ACTIVITY_")):
                yield from self._read_state(kind, data)
            case _ if kind.startswith(("STEP_", "SUBAGENT_")):
                yield from self._read_step(kind, data)
            case _:
                pass

    def _read_text(self, data: _Event) -> Iterator[Part]:
        text = require_text(data.delta)
        if self._messages.add(data.message_id, text, data.role) and text:
            yield Text(text)

    def _read_call(self, kind: str, data: _Event) -> Iterator[Part]:
        id_ = data.tool_call_id or ""
        match kind:
            case "TOOL_CALL_START":
                if (part := self._calls.begin(id_, data.tool_call_name or "")) is not None:
                    yield part
            case "TOOL_CALL_CHUNK":
                if data.tool_call_name and (part := self._calls.begin(id_, data.tool_call_name)):
                    yield part
                yield from self._calls.append(id_, read_text(data.delta))
            case "TOOL_CALL_ARGS":
                yield from self._calls.append(id_, read_text(data.delta))
            case "TOOL_CALL_END":
                yield from self._calls.end(id_)
            case "TOOL_CALL_RESULT":
                result = _decode_result(data.content)
                yield from self._calls.add_result(id_, result, is_error=bool(data.error))
            case _:
                pass

    def _read_messages(self, snapshot: list[dict[str, Any]]) -> Iterator[Part]:
        """Yield what a snapshot of the conversation has and the stream did not."""
        messages = self._messages.new_messages(snapshot)
        if not messages:
            self._calls.retract()
        if not self._has_reasoning:
            texts = [m.get("content") for m in messages if m.get("role") == "reasoning"]
            if text := "\n\n".join(filter(None, map(read_text, texts))):
                self._has_reasoning = True
                yield Reasoning(text)
        text, is_replaced = self._messages.update(messages)
        if is_replaced:
            self._retracted.retract()
        yield from self._retracted.replace([Text(text)] if text else [])
        for message in messages:
            yield from self._read_message_calls(message)

    def _read_message_calls(self, message: Mapping[str, Any]) -> Iterator[Part]:
        calls = message.get("toolCalls")
        for call in calls if isinstance(calls, list) else ():
            id_ = str(call.get("id") or "") if isinstance(call, dict) else ""
            function = call.get("function") if isinstance(call, dict) else None
            if id_ and id_ not in self._calls and isinstance(function, dict):
                if (part := self._calls.begin(id_, read_text(function.get("name")))) is not None:
                    yield part
                yield from self._calls.end(id_, read_text(function.get("arguments")))
        if message.get("role") == "tool":
            id_ = str(message.get("toolCallId") or "")
            call_state = self._calls.find(id_) if id_ else None
            if call_state is not None and not call_state.has_result:
                result = _decode_result(message.get("content"))
                is_error = bool(message.get("error"))
                yield from self._calls.add_result(id_, result, is_error=is_error)

    def _read_state(self, kind: str, data: _Event) -> Iterator[Part]:
        match kind:
            case "STATE_SNAPSHOT":
                yield from self._state.set(data.snapshot)
            case "STATE_DELTA" if isinstance(data.delta, list):
                yield from self._state.change(data.delta)
            case "ACTIVITY_SNAPSHOT":
                id_, content = data.message_id or "", data.content
                if data.activity_type == "status" and (text := _status_text(content)) is not None:
                    yield Status(text)
                else:
                    name = data.activity_type or "activity"
                    yield self._state.set_activity(id_, name, content)
            case "ACTIVITY_DELTA" if data.patch is not None:
                yield from self._state.change_activity(data.message_id or "", data.patch)
            case _:
                pass

    def _read_step(self, kind: str, data: _Event) -> Iterator[Part]:
        match kind:
            case "STEP_STARTED":
                yield StepStart(data.step_name or "step")
            case "STEP_FINISHED":
                yield StepEnd(data.step_name or "step")
            case "SUBAGENT_STARTED":
                name = data.name or "subagent"
                self._subagents[data.subagent_run_id or ""] = name
                yield StepStart(name)
            case "SUBAGENT_FINISHED" | "SUBAGENT_ERROR":
                name = self._subagents.pop(data.subagent_run_id or "", "")
                if name:
                    yield StepEnd(name)
            case _:
                pass

    def _read_encrypted(self, data: _Event) -> Iterator[Part]:
        """Yield what the agent's vendor needs back: of the reasoning, or of a tool call."""
        id_, value = data.entity_id or "", data.encrypted_value
        if not value:
            return
        if data.subtype == "tool-call":
            yield from self._calls.extend(id_, {"encrypted_value": value})
        elif self._has_reasoning:
            detail = {"type": "reasoning.encrypted", "data": value, "id": id_}
            yield ReasoningDetails([{**detail, "format": REASONING_FORMAT}])

    def _read_custom(self, name: str, value: Any) -> Iterator[Part]:
        is_object, is_list = isinstance(value, dict), isinstance(value, list)
        match name:
            case "generation" if is_object and value.keys() == {"generation"}:
                pass
            case "generation.stopped":
                self._is_stopped = True
            case "status" if (text := _status_text(value)) is not None:
                yield Status(text)
            case "annotations" if is_list and all(isinstance(each, dict) for each in value):
                yield Annotations(value)
            case "reasoning_details" if is_list and all(isinstance(each, dict) for each in value):
                yield ReasoningDetails(value)
            case "source" | "file" if (part := _convert_part(name, value)) is not None:
                yield part
            case _:
                yield self._state.custom(name or "custom", value)

    def _read_end(self, kind: str, data: _Event, event: ServerSentEvent) -> Iterator[Part]:
        usage: Mapping[str, Any] = {}
        for each in data.usage or ():
            usage = add_usage(usage, convert_counts(each))
        if usage:
            yield Usage(dict(usage))
        if kind == "RUN_ERROR":
            raise UpstreamStreamError(event.data)
        outcome = data.outcome or {}
        result = data.result
        is_hubs = isinstance(result, dict) and result.keys() <= _HUB_RESULT
        reason = read_text(result.get("finishReason")) if is_hubs else ""
        if outcome.get("type") == "interrupt":
            raise UpstreamInterrupted(read_interrupts(outcome.get("interrupts")))
        if outcome.get("type") == "cancelled" or self._is_stopped:
            raise UpstreamStreamError(msgspec.json.encode({"message": "the run was cancelled"}))
        if is_hubs:
            yield from convert_usage(result.get("usage"))
        elif result is not None:
            yield self._state.custom("result", result)
        pending = outcome.get("pendingToolCallIds")
        yield from self._calls.leave_to_client(pending if isinstance(pending, list) else ())
        self.finish_reason, self.done = normalise_finish_reason(reason) or "stop", True


def _decode_result(content: Any) -> Any:
    """Return the result of a tool: objects and lists come as their JSON, and media as parts."""
    if isinstance(content, list) and all(_is_text_part(part) for part in content):
        content = read_text(content)
    if not isinstance(content, str) or not content.lstrip().startswith(("{", "[")):
        return content
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return content


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"


def _status_text(value: Any) -> str | None:
    text = value.get("text") if isinstance(value, dict) and value.keys() == {"text"} else None
    return text if isinstance(text, str) else None


def _convert_part(name: str, value: Any) -> Part | None:
    """Return a part `source` or `file` with these fields, None if they are others."""
    type_: type[Source | File] = Source if name == "source" else File
    if not isinstance(value, dict):
        return None
    try:
        return msgspec.convert({**value, "type": name}, type_)
    except msgspec.ValidationError:
        return None
