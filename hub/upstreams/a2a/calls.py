"""The calls for one answer of an agent, with what the hub does about a task that nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import suppress
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.inputs import StoredInput
from hub.core.parts import Part
from hub.engine.tasks import BackgroundTasks
from hub.errors import UpstreamError
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.endpoint import AgentEndpoint
from hub.upstreams.a2a.request import AgentCall, Operation, build_params, build_parts
from hub.upstreams.a2a.task import SavedTask, TaskProgress

_LATE_CANCEL_SECONDS: Final = 60.0  # how long the id of a task is waited for, to cancel it


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is asked.

    message_id: that of the message. earlier: the task of the answer before in the same chat, empty
    if there is none. inputs: as in GenerationContext. input_timeout_seconds: how long people have.
    """

    request: GenerationRequest
    context: GenerationContext | None
    message_id: str
    earlier: SavedTask = SavedTask()
    inputs: Mapping[str, StoredInput] | None = None
    input_timeout_seconds: float = 0.0


class TaskCalls:
    """Implements AgentCalls for one answer.

    cancel: cancels the task with this id.
    """

    def __init__(
        self,
        endpoint: AgentEndpoint,
        interface: AgentInterface,
        task_request: TaskRequest,
        progress: TaskProgress,
        *,
        poll_seconds: float,
        background: BackgroundTasks,
        cancel: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self._endpoint = endpoint
        self._request = task_request
        self._background = background
        self._cancel = cancel
        self._input: tuple[str, Any] | None = None  # key and value
        self.interface = interface
        self.progress = progress
        self.poll_seconds = poll_seconds
        self.idle_seconds = endpoint.idle_seconds
        self.total_seconds = endpoint.total_seconds
        self.secrets = endpoint.secrets
        self.inputs = task_request.inputs
        self.input_timeout_seconds = task_request.input_timeout_seconds

    async def call(self, operation: Operation) -> AsyncGenerator[Sequence[Part], None]:
        """See AgentCalls.call.

        When the caller is cancelled before the task has an id, the reading goes on until the task
        can be canceled: nobody could find it any more.
        """
        progress, task_request = self.progress, self._request
        call = self._build(operation)
        stream = self._endpoint.send(
            call, self.interface, task_request.request, task_request.context
        )
        is_left = False
        try:
            while True:
                if progress.task is not None or progress.is_answered:
                    parts = await anext(stream, None)
                else:
                    is_left = True
                    parts = await self._background.finish(
                        "read the id of a task",
                        _read_next(stream),
                        lambda _: self._cancel_late(stream),
                    )
                    is_left = False
                if parts is None:
                    return
                yield parts
        finally:
            if not is_left:
                await stream.aclose()

    def set_input(self, key: str, value: Any) -> None:
        """See AgentCalls.set_input."""
        self._input = key, value

    def _build(self, operation: Operation) -> AgentCall:
        """Return the call of an operation. Raise UpstreamError."""
        params = self._build_message() if operation in ("stream", "send") else None
        return AgentCall(self.interface, operation, self.progress, params, secrets=self.secrets)

    def _build_message(self) -> Mapping[str, Any]:
        """Return the message of the request, or one with an input. Raise UpstreamError."""
        task_request, progress = self._request, self.progress
        message_id, body = task_request.message_id, self._endpoint.body
        if self._input is None:
            context = task_request.earlier.context
            parts = build_parts(task_request.request, knows_context=context is not None)
            ids = {"messageId": message_id, "contextId": context}
        else:
            key, value = self._input
            parts = [{"text": value} if isinstance(value, str) else {"data": value}]
            ids = {"messageId": f"{message_id}/{key}", "contextId": progress.context}
            ids["taskId"] = progress.task
        return build_params(parts, self.interface, ids, body)

    def _cancel_late(self, stream: AsyncGenerator[Sequence[Part], None]) -> None:
        """Cancel the task as soon as the stream of its message names it."""

        async def wait_and_cancel() -> None:
            progress = self.progress
            with suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(_LATE_CANCEL_SECONDS):
                    while progress.task is None and await anext(stream, None) is not None:
                        pass
            await stream.aclose()
            if progress.task is not None and not progress.is_settled:
                await self._cancel(progress.task)

        self._background.run("cancel a task", wait_and_cancel())


async def _read_next(stream: AsyncGenerator[Sequence[Part], None]) -> Sequence[Part] | None:
    return await anext(stream, None)
