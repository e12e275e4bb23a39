"""Agents that speak the Agent2Agent protocol (A2A), version 1.0, and 0.3 over JSON-RPC.

Source: a2a-protocol.org, specification 1.0. A request is a message to the agent. What the agent
makes of it is a task, which goes on whatever becomes of connections.

    a2a_card      where and how the agent is called
    a2a_endpoint  single requests to it
    a2a_request   what the requests say
    a2a_reader    what the responses say
    a2a_task      what a task becomes: stream parts, each once
    a2a_repeats   which events repeat what the whole task before them had
    a2a_answer    which request follows which, until the task has ended
    a2a_calls     these requests
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar, Final

import aiohttp
import structlog

from hub.core.durable import Checkpoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part
from hub.engine.tasks import BackgroundTasks
from hub.errors import UpstreamError
from hub.upstreams.a2a.answer import TaskAnswer, read_saved, restore
from hub.upstreams.a2a.calls import TaskCalls, TaskRequest
from hub.upstreams.a2a.endpoint import AgentEndpoint
from hub.upstreams.a2a.task import SavedTask, TaskProgress
from hub.upstreams.http.endpoint import EndpointOptions

_CANCEL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 1.0
_INPUT_TIMEOUT_SECONDS: Final = 86400.0
_ENDED: Final = frozenset({"completed", "failed", "canceled", "rejected"})
_log = structlog.get_logger(__name__)


class A2aUpstream:
    """Implements ports.upstreams.ResumableUpstream for one agent.

    name: that of the upstream. body: fields of the parameters of each message. on_odd_fields:
    called with the number of fields of a response that had an odd type. poll_seconds: the interval
    at which a task is read that cannot be subscribed to. input_timeout_seconds: how long people
    have for what the agent asks.
    """

    kind: ClassVar[str] = "a2a"

    def __init__(
        self,
        name: str,
        session: aiohttp.ClientSession,
        options: EndpointOptions,
        *,
        body: Mapping[str, Any],
        max_event_bytes: int,
        on_odd_fields: Callable[[int], None] = lambda count: None,
        poll_seconds: float = _POLL_SECONDS,
        input_timeout_seconds: float = _INPUT_TIMEOUT_SECONDS,
    ) -> None:
        self._input_timeout_seconds = input_timeout_seconds
        self._name = name
        self._endpoint = AgentEndpoint(
            session,
            options,
            body=body,
            max_event_bytes=max_event_bytes,
            on_odd_fields=on_odd_fields,
        )
        self._poll_seconds = poll_seconds
        self._background = BackgroundTasks()

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.upstreams.Upstream.stream. A task that is left is canceled."""
        task_request = TaskRequest(
            request=request, context=context, message_id=secrets.token_hex(16)
        )
        progress = TaskProgress()
        is_read = False
        try:
            async with aclosing(self._read_answer(task_request, progress)) as stream:
                async for output in stream:
                    if parts := [each for each in output if isinstance(each, Part)]:
                        yield parts
            is_read = True
        finally:
            if not is_read and progress.task is not None and progress.state not in _ENDED:
                work = self._cancel_task(task_request, progress.task)
                self._background.run("cancel a task", work)

    def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.upstreams.ResumableUpstream.resumable_stream."""
        task_request = TaskRequest(
            request=request,
            context=context,
            message_id=context.generation if context is not None else secrets.token_hex(16),
            earlier=self._find_earlier(context),
            inputs=None if context is None else context.inputs,
            input_timeout_seconds=self._input_timeout_seconds,
        )
        progress, keeps_parts = restore(checkpoint)
        return self._read_answer(task_request, progress, keeps_parts=keeps_parts)

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.upstreams.ResumableUpstream.cancel."""
        saved = read_saved(checkpoint)
        if saved is not None and saved.task is not None and saved.state not in _ENDED:
            task_request = TaskRequest(request=request, context=None, message_id="")
            await self._cancel_task(task_request, saved.task)

    def _find_earlier(self, context: GenerationContext | None) -> SavedTask:
        """Return the task of the answer before in the same chat, an empty one without any."""
        value = None if context is None else context.earlier.get(self._name)
        saved = None if value is None else read_saved(Checkpoint(value=value, folded=()))
        return saved or SavedTask()

    async def _read_answer(
        self, task_request: TaskRequest, progress: TaskProgress, *, keeps_parts: bool = True
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        calls = await self._open_calls(task_request, progress)
        async with aclosing(TaskAnswer(calls).read(keeps_parts=keeps_parts)) as stream:
            async for output in stream:
                yield output

    async def _open_calls(self, task_request: TaskRequest, progress: TaskProgress) -> TaskCalls:
        """Return the calls for an answer. Raise UpstreamError."""
        return TaskCalls(
            self._endpoint,
            await self._endpoint.find_interface(),
            task_request,
            progress,
            poll_seconds=self._poll_seconds,
            background=self._background,
            cancel=partial(self._cancel_task, task_request),
        )

    async def _cancel_task(self, task_request: TaskRequest, task: str) -> None:
        """Cancel a task; a failure is logged, because the task may have ended meanwhile."""
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                calls = await self._open_calls(task_request, TaskProgress(SavedTask(task=task)))
                async with aclosing(calls.call("cancel")) as batches:
                    async for _ in batches:
                        pass
        except (UpstreamError, TimeoutError) as error:
            code = error.code if isinstance(error, UpstreamError) else "upstream_timeout"
            _log.info("upstream.task_not_canceled", upstream=self._name, task=task, code=code)
