"""The calls for one answer of an agent, with what the hub does about a task that nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part
from hub.engine.tasks import BackgroundTasks
from hub.errors import UpstreamError
from hub.upstreams.a2a_card import AgentInterface
from hub.upstreams.a2a_endpoint import AgentEndpoint
from hub.upstreams.a2a_request import AgentCall, Operation, build_params
from hub.upstreams.a2a_task import SavedTask, TaskProgress

_LATE_CANCEL_SECONDS: Final = 60.0  # how long the id of a task is waited for, to cancel it


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is asked.

    message_id: that of the message. earlier: the task of the answer before in the same chat, empty
    if there is none. in_chat: whether a later question can go to the same task.
    """

    request: GenerationRequest
    context: GenerationContext | None
    message_id: str
    earlier: SavedTask = SavedTask()
    in_chat: bool = False


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
        self.interface = interface
        self.progress = progress
        self.poll_seconds = poll_seconds
        self.idle_seconds = endpoint.idle_seconds
        self.total_seconds = endpoint.total_seconds
        self.in_chat = task_request.in_chat

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

    def _build(self, operation: Operation) -> AgentCall:
        """Return the call of an operation. Raise UpstreamError."""
        params, task_request = None, self._request
        if operation in ("stream", "send"):
            earlier = task_request.earlier
            params = build_params(
                task_request.request,
                self.interface,
                message_id=task_request.message_id,
                context=earlier.context,
                task=earlier.task if earlier.state == "input-required" else None,
                body=self._endpoint.body,
            )
        return AgentCall(
            self.interface, operation, self.progress, params, secrets=self._endpoint.secrets
        )

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
