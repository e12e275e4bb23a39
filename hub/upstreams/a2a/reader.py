"""The responses of the Agent2Agent protocol: streams of events, and single objects.

Source: a2a-protocol.org, specification 1.0, sections 3.2.3, 4 and 9.5. Events of 0.3 name their
kind in a field and have no object around them; both forms are read, whatever version was requested.
a2a/task.py turns tasks, messages and updates to stream parts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from hub.core.parts import Part
from hub.core.sse_decoder import ServerSentEvent
from hub.errors import UpstreamError
from hub.upstreams.a2a.objects import (
    ArtifactUpdate,
    StatusUpdate,
    Task,
    TaskArtifact,
    TaskMessage,
    TaskPart,
    TaskStatus,
)
from hub.upstreams.a2a.task import TaskProgress
from hub.upstreams.reading.error_reports import extract_error_text

_PERMANENT: Final = frozenset(
    {-32700, -32601, -32600, -32009, -32008, -32007, -32005, -32004, -32003, -32602}
)
"""Errors of JSON-RPC and A2A that a repetition would get again (sections 3.3.2 and 9.5)."""
_OF_REQUEST: Final = frozenset({-32602, -32005})
"""Those that blame the message: other agents would refuse it as well."""


_Object = TypeVar("_Object", Task, TaskMessage, StatusUpdate, ArtifactUpdate)


class _Result(msgspec.Struct, gc=False):
    """An event: of 1.0, one of the first four; of 0.3, the fields of the object itself."""

    task: Task | None = None
    message: TaskMessage | None = None
    statusUpdate: StatusUpdate | None = None  # noqa: N815 - the names of the wire format
    artifactUpdate: ArtifactUpdate | None = None  # noqa: N815
    kind: str | None = None
    id: Any = None
    contextId: str | None = None  # noqa: N815
    taskId: str | None = None  # noqa: N815
    messageId: str | None = None  # noqa: N815
    parts: list[TaskPart] | None = None
    status: TaskStatus | None = None
    artifacts: list[TaskArtifact] | None = None
    artifact: TaskArtifact | None = None
    append: bool | None = None


class _Event(_Result, gc=False):
    """An event with or without the envelope of JSON-RPC."""

    result: _Result | None = None
    error: Any = None


_decode_event: Final = msgspec.json.Decoder(_Event).decode


class CallReader:
    """Implements ResponseReader for one call.

    is_stream: whether events follow the first one. is_subscription: whether the first one is a
    whole task, of which events may follow once more. secrets: what no error may show.
    """

    event_type: ClassVar[Any] = _Event
    text_events: ClassVar[frozenset[str] | None] = None
    has_whole_tool_names: ClassVar[bool] = True

    def __init__(
        self,
        progress: TaskProgress,
        *,
        is_stream: bool,
        is_subscription: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        self._progress = progress
        self._secrets = secrets
        self._is_stream = is_stream
        self._is_subscription = is_subscription
        self.finish_reason: str | None = None
        self.done = False

    def read(self, event: ServerSentEvent) -> Iterator[Part]:
        data = _decode_event(event.data)
        if data.error:
            raise _read_error(data.error, self._secrets)
        yield from self._apply(data.result or data)
        if self._progress.is_settled or not self._is_stream:
            self.finish_reason, self.done = "stop", True

    def _apply(self, result: _Result) -> Iterator[Part]:
        progress = self._progress
        kind = result.kind or _guess_kind(result)
        if task := _unless_empty(result.task):
            yield from self._on_task(task)
        elif update := _unless_empty(result.statusUpdate):
            yield from progress.on_status(update)
        elif artifact := _unless_empty(result.artifactUpdate):
            yield from progress.on_artifact(artifact)
        elif message := _unless_empty(result.message):
            yield from progress.on_message(message)
        elif kind == "task":
            task = Task(result.id, result.contextId, result.status, result.artifacts)
            yield from self._on_task(task)
        elif kind == "status-update":
            update = StatusUpdate(result.taskId, result.contextId, result.status)
            yield from progress.on_status(update)
        elif kind == "artifact-update":
            artifact = ArtifactUpdate(
                result.taskId, result.contextId, result.artifact, result.append
            )
            yield from progress.on_artifact(artifact)
        elif kind == "message":
            message = TaskMessage(result.messageId, result.contextId, result.taskId, result.parts)
            yield from progress.on_message(message)

    def _on_task(self, task: Task) -> Iterator[Part]:
        yield from self._progress.on_task(task)
        if self._is_subscription:
            self._progress.begin_subscription(task)


def _unless_empty(value: _Object | None) -> _Object | None:
    """Return an object that has a field which the hub reads: some agents send an empty `message`
    beside the fields of a task.
    """
    return None if value is None or value == type(value)() else value


def _guess_kind(result: _Result) -> str:
    """Return the kind of an object without the field: GetTask of 1.0 returns the task itself."""
    if result.artifact is not None:
        return "artifact-update"
    if result.status is not None:
        return "task" if isinstance(result.id, str) else "status-update"
    return "message" if result.parts is not None else ""


def _read_error(error: Any, secrets: Collection[str]) -> UpstreamError:
    """Return the failure of an error object of JSON-RPC (section 5.1 of its specification)."""
    code = error.get("code") if isinstance(error, dict) else None
    text = extract_error_text(msgspec.json.encode(error), secrets)
    return UpstreamError(
        "upstream_error",
        f"the agent reported an error: {text}" if text else "the agent reported an error",
        retryable=code not in _PERMANENT,
        rejects_request=code in _OF_REQUEST,
        reported_code=str(code) if isinstance(code, int) else None,
    )
