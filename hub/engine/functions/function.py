"""A function of the application as an upstream.

The function runs in a child process (upstreams/functions/pool.py). Its parts are those that it
yields; what becomes of them, stops and leases are the relay's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import msgspec
import structlog

from hub.core.durable import DurableState, PartOrCommand
from hub.core.generation import Generation
from hub.core.inputs import answered_values, fold_inputs
from hub.core.parts import Finished
from hub.core.steering import SteeringMessage
from hub.engine.functions.function_answers import FunctionRequest
from hub.engine.functions.function_inputs import RunInputs
from hub.engine.functions.function_run import ProcessRun
from hub.engine.functions.pending_inputs import PendingInputs
from hub.engine.functions.run_timer import RunTimer
from hub.engine.functions.steering_feed import SteeringFeed, SteeringFollower
from hub.errors import UpstreamError
from hub.producer.failures import UpstreamReport
from hub.producer.protocol import End, FunctionOptions
from hub.producer.run import RunCheckpoint, RunContext

_FINISHED: Final = Finished("stop")
_log = structlog.get_logger(__name__)


class FunctionRuns(Protocol):
    """Where functions run. options: by name of the upstream."""

    @property
    def options(self) -> Mapping[str, FunctionOptions]: ...

    async def start_run(self, function: str, request: FunctionRequest) -> ProcessRun:
        """Start a run of a function. Raise UpstreamError when the application cannot be loaded."""
        ...


class ApplicationFunction:
    """Implements ports.functions.Function.

    name: that of the upstream. retries, timeout_seconds: those of the settings; None means those
    that the function declares. shows_errors: whether clients get the text of exceptions. steering:
    the messages of users; without it there are none.
    """

    def __init__(
        self,
        name: str,
        pool: FunctionRuns,
        pending_inputs: PendingInputs,
        *,
        retries: int | None = None,
        timeout_seconds: float | None = None,
        shows_errors: bool = False,
        steering: SteeringFeed | None = None,
    ) -> None:
        self._name = name
        self._pool = pool
        self._pending_inputs = pending_inputs
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._shows_errors = shows_errors
        self._steering = steering

    @property
    def retries(self) -> int:
        """See ports.functions.Function."""
        return self._pool.options[self._name].retries if self._retries is None else self._retries

    @property
    def timeout_seconds(self) -> float | None:
        """The time that a run may take; None means any."""
        if self._timeout_seconds is not None:
            return self._timeout_seconds
        return self._pool.options[self._name].timeout_seconds

    async def stream(
        self, record: Generation, attempt: int, state: DurableState
    ) -> AsyncGenerator[Sequence[PartOrCommand], None]:
        """See ports.functions.Function.stream."""
        seconds = self.timeout_seconds
        with self._follow(record.id) as follower:
            run = await self._start_run(record, attempt, state, follower)
            timer = RunTimer(seconds)
            inputs = RunInputs(record, self._pending_inputs, run, timer)
            run.on_input_close = inputs.on_close
            try:
                end: End | None = None
                while end is None:
                    try:
                        async with timer.limit():
                            output = await run.read()
                    except TimeoutError:
                        message = f"the answer took longer than {seconds:g} seconds"
                        raise UpstreamError("producer_timeout", message, retryable=False) from None
                    end = output.end
                    if end is not None and not end.code:
                        yield [*output.parts, _FINISHED]
                    elif output.parts:
                        yield output.parts
                        inputs.wait_for(output.parts)  # they are published
            finally:
                inputs.close()
                run.close()
        if end.code:
            raise self._failure(record, end)

    def _follow(self, generation: str) -> AbstractContextManager[SteeringFollower]:
        if self._steering is None:
            return nullcontext(SteeringFollower())
        return self._steering.follow(generation)

    async def _start_run(
        self, record: Generation, attempt: int, state: DurableState, follower: SteeringFollower
    ) -> ProcessRun:
        """Start a run with the messages of the user so far; later ones follow it."""
        if self._steering is not None:
            await self._steering.read(record.id)
        messages = follower.messages
        context = build_context(record, attempt, self.timeout_seconds, state, messages)
        request = FunctionRequest(record.request, context)
        run = await self._pool.start_run(self._name, request)
        follower.deliver(run.send_steering, after=messages)
        return run

    def _failure(self, record: Generation, end: End) -> UpstreamError:
        if end.detail:
            _log.error(
                "producer.failed",
                upstream=self._name,
                generation=record.id,
                reason=end.detail,
                **({"exception": end.traceback} if end.traceback else {}),
            )
        message = end.detail if end.detail and self._shows_errors else end.message
        report = end.upstream_report or UpstreamReport()
        return UpstreamError(
            end.code,
            message,
            retryable=end.retryable,
            status=report.status,
            reported_code=report.code,
            param=report.param,
        )


def build_context(
    record: Generation,
    attempt: int,
    timeout_seconds: float | None,
    state: DurableState,
    steering: Sequence[SteeringMessage] = (),
) -> RunContext:
    request, checkpoint = record.request, None
    taken = state.checkpoint.steering if state.checkpoint else 0
    if state.checkpoint is not None:
        value, previous = state.checkpoint.value, state.checkpoint.folded
        checkpoint = RunCheckpoint(msgspec.Raw(value), fold_inputs(previous, state.inputs))
    return RunContext(
        user=record.user,
        generation=record.id,
        attempt=attempt,
        chat=request.chat,
        messages=msgspec.to_builtins(request.messages),
        model=request.model,
        params=request.params,
        metadata=request.metadata,
        timeout_seconds=timeout_seconds,
        results={name: msgspec.Raw(value) for name, value in state.values.items()},
        checkpoint=checkpoint,
        steering=[*steering[taken:]],
        steering_taken=taken,
        inputs={
            key: msgspec.Raw(msgspec.json.encode(value))
            for key, value in answered_values(state.inputs).items()
        },
    )
