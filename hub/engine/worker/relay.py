"""The relay: reads the stream of an upstream and publishes it into the channel of the answer.

    stream parts of the upstream → the guard, if there is one (text_guard.py)
                                 → one publish per flush interval → generation.* events

The upstream is an LLM endpoint or a function of the application. A function is called once for each
generation; after its process or worker was lost, it is called again as often as its `retries` say.
Its commands are carried out between its parts: it waits for the next read of its stream, which
follows the publish. An endpoint that can continue an answer yields resume points between its parts.
What both have stored is kept for the attempt of the next worker (core/durable.py).

The relay reads the upstream no faster than it publishes. After a publish it waits for the rest of
`flush_seconds`, less a fraction so that many answers wait for the same time (flush_timer.py), and
then publishes everything that arrived meanwhile; the first part after a silence is published at
once. attempt.py builds and publishes the events and keeps their rules.

A stop request cancels the upstream read and the flush delay, but never a publish in flight. An
answer that would go on at its endpoint is cancelled there after the end event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Literal

import msgspec
import structlog

from hub.core.durable import Checkpoint, StreamOutput
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Generation, GenerationRequest, Status
from hub.core.generation_context import GenerationContext
from hub.core.journal_entries import read_durable_state
from hub.core.parts_journal import PartsLimits
from hub.engine.attempts.attempt import (
    Attempt,
    AttemptSuperseded,
    BrokerAccess,
    GenerationResult,
    OtherVersion,
)
from hub.engine.attempts.coalescing import MAX_RUNS
from hub.engine.attempts.stop_signal import StopRequested, StopSignal
from hub.engine.generations.generation_log import LogTrimmed, ends_after
from hub.engine.generations.input_events import publish_request
from hub.engine.worker.chat_state import find_chat_state
from hub.engine.worker.flush_timer import FlushTimer
from hub.engine.worker.resumable import cancel_answer, open_stream
from hub.engine.worker.text_guard import TextGuard
from hub.engine.worker.upstream_reading import read_parts
from hub.errors import ProducerLost, RecordLost, UpstreamError
from hub.ports.clock import Clock
from hub.ports.events import FROM_START, EventLog
from hub.ports.functions import Function
from hub.ports.generations import GenerationStore
from hub.ports.queue import Lease
from hub.ports.upstreams import Upstream

_UNKNOWN_MODEL: Final = ""  # only the lost record had it
_log = structlog.get_logger(__name__)


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one generation.

    max_attempts: how many workers in a row may start it without storing a checkpoint. parts: the
    size of the answer. flush_seconds: the interval between two publishes.
    broker_timeout_seconds: how long a publish is repeated while the broker is unavailable.
    max_queued_seconds: the age of a request after which it is no longer started.
    """

    max_attempts: int
    parts: PartsLimits
    flush_seconds: float
    broker_timeout_seconds: float
    max_queued_seconds: float


async def _always() -> bool:
    return True


class Relay:
    """Relays generations; one call of `run` each.

    upstreams, functions: those of this worker, by the name of the upstream. guards: what checks
    their answers, for some of them. version: that of this worker. pinned: the upstreams whose lost
    answers only a worker of the same version continues.
    remembering: the upstreams that get what they stored with the answer before in the same chat.
    """

    def __init__(
        self,
        events: EventLog,
        store: GenerationStore,
        upstreams: Mapping[str, Upstream],
        clock: Clock,
        limits: RelayLimits,
        *,
        functions: Mapping[str, Function] | None = None,
        guards: Mapping[str, TextGuard] | None = None,
        version: str = "",
        pinned: Collection[str] = (),
        remembering: Collection[str] = (),
    ) -> None:
        self._events = events
        self._store = store
        self._upstreams = upstreams
        self._functions = functions or {}
        self._guards = guards or {}
        self._version = version
        self._pinned = pinned
        self._remembering = remembering
        self._clock = clock
        self._limits = limits
        self._flush_timer = FlushTimer(clock, limits.flush_seconds)

    async def run(
        self,
        lease: Lease,
        stop: StopSignal,
        *,
        holds_lease: Callable[[], Awaitable[bool]] = _always,
    ) -> GenerationResult | Literal[Status.SUSPENDED] | None:
        """Relay the generation of a job until it has ended or is suspended.

        holds_lease: returns whether this worker still holds the lease of the job, and renews it.
        Return the result if this call ended the generation, SUSPENDED if the generation was
        suspended when this call looked, None if it had ended.
        When the record has vanished and this worker holds the lease, the generation fails.
        Raise AttemptSuperseded when another worker has the generation, which has not ended; raise
        OtherVersion when only workers of another version may continue it; raise BrokerUnavailable
        when the broker stays away longer than the limit.
        """
        generation = lease.generation
        record = await self._store.find(generation)
        if record is None:
            return await self._end_unstarted(lease, holds_lease)
        if record.status.ended:
            await self._cancel_ended(record)
            return None
        if record.status is Status.SUSPENDED:  # the worker before was lost before it released it
            await self._show_to_approvers(record)
            return Status.SUSPENDED
        # A worker that was frozen may have lost the lease long ago. The check comes after `find`:
        # when another worker begins an attempt after this check, the broker refuses this one's.
        if not await holds_lease():
            raise AttemptSuperseded
        attempt = self._new_attempt(record, holds_lease)
        try:
            status, fields = await self._run_attempt(attempt, stop, lease.deliveries)
            if status is Status.SUSPENDED:
                return status
            result = await attempt.end(status, fields)
            if status is not Status.DONE:
                await self._cancel(record.request, attempt.checkpoint)
            return result
        except AttemptSuperseded:
            _log.info("generation.superseded", generation=generation, attempt=attempt.number)
            record = await self._store.find(generation)
            if record is None and await holds_lease():
                return await self._end_lost(attempt)
            if record is None:
                return None
            if not record.status.ended:
                raise
            if record.suspended is not None:  # a node has ended it; while there is the job of this
                await self._cancel_ended(record)  # worker, no other worker gets one
            return None

    def _new_attempt(
        self, record: Generation, holds_lease: Callable[[], Awaitable[bool]]
    ) -> Attempt:
        timeout_seconds = self._limits.broker_timeout_seconds
        broker = BrokerAccess(self._events, self._store, holds_lease, timeout_seconds)
        return Attempt(broker, self._clock, record, self._limits.parts, version=self._version)

    async def _end_unstarted(
        self, lease: Lease, holds_lease: Callable[[], Awaitable[bool]]
    ) -> GenerationResult | None:
        """End the generation of a job whose record was lost before this worker read it.

        The record of a generation that had ended may also have expired, so the log is searched for
        its end. Raise BrokerUnavailable.
        """
        if not await holds_lease():
            return None
        with suppress(LogTrimmed):  # meanwhile; then the end is not known
            if await ends_after(self._events, lease.channel, lease.generation, FROM_START):
                return None
        request = GenerationRequest(
            [], upstream=lease.upstream, model=_UNKNOWN_MODEL, topic=lease.topic
        )
        record = Generation(id=lease.generation, user=lease.user, request=request)
        return await self._end_lost(self._new_attempt(record, holds_lease))

    async def _end_lost(self, attempt: Attempt) -> GenerationResult:
        """End a generation whose record the broker has lost. Raise BrokerUnavailable."""
        _log.warning("generation.lost", generation=attempt.record.id, attempt=attempt.number)
        return await attempt.end_without_record(Status.FAILED, _describe_failure(RecordLost()))

    async def _run_attempt(
        self, attempt: Attempt, stop: StopSignal, deliveries: int
    ) -> tuple[Status, dict[str, Any]]:
        """Relay the stream, and return how the generation ends: the status and its fields."""
        record = attempt.record
        try:
            if record.stop_requested_by is not None:
                stop.set(record.stop_requested_by)
            self._check_startable(attempt, stop, deliveries)
            self._check_version(record)
            while True:
                await attempt.start(stop)
                try:
                    await self._relay_stream(attempt, stop)
                    break
                except ProducerLost:
                    if attempt.number - record.suspensions > self._retries(record):
                        raise
            if attempt.suspension is not None:
                suspended = await attempt.confirm_suspension(stop)
                await self._show_to_approvers(suspended)
                _log.info("generation.suspended", generation=record.id, attempt=attempt.number)
                return Status.SUSPENDED, {}
        except StopRequested:
            return Status.STOPPED, {"by": stop.by}
        except UpstreamError as error:
            _log.warning("generation.failed", generation=record.id, code=error.code)
            return Status.FAILED, _describe_failure(error)
        return Status.DONE, {"finish_reason": attempt.finish_reason}

    def _check_startable(self, attempt: Attempt, stop: StopSignal, deliveries: int) -> None:
        """Raise StopRequested or UpstreamError for a generation that ends without being started."""
        record, limits = attempt.record, self._limits
        if stop.by is not None:
            raise StopRequested
        function = self._functions.get(record.request.upstream)
        if function is not None and record.losses > function.retries:
            raise ProducerLost
        max_attempts = max(limits.max_attempts, self._retries(record) + 1)
        # The newest checkpoint is that of the last attempt that has stored progress.
        checkpoint = read_durable_state(record.journal).checkpoint
        fruitful = 0 if checkpoint is None else checkpoint.attempt
        fruitless = record.attempt - fruitful if fruitful else record.losses
        if max(fruitless, deliveries - 1 - fruitful) >= max_attempts:
            message = f"{max_attempts} workers in a row received this request and none finished it"
            raise UpstreamError("too_many_attempts", message, retryable=True)
        if (
            record.attempt == 0
            and not record.waits  # then it waited for its chat, not for a worker
            and attempt.queued_seconds > limits.max_queued_seconds
        ):
            message = "no worker was free in time to start the answer"
            raise UpstreamError("queue_timeout", message, retryable=True)

    def _check_version(self, record: Generation) -> None:
        """Raise OtherVersion for a generation that other workers must continue."""
        is_pinned = record.request.upstream in self._pinned
        if is_pinned and record.attempt and record.version != self._version:
            raise OtherVersion(record.version)

    async def _relay_stream(self, attempt: Attempt, stop: StopSignal) -> None:
        """Publish the stream of the upstream until it is finished, and close its connection."""
        name = attempt.record.request.upstream
        max_runs = None if name in self._functions else MAX_RUNS
        earlier: Mapping[str, bytes] = {}
        if name in self._remembering:
            earlier = await find_chat_state(self._store, attempt.record)
        async with aclosing(self._open_stream(attempt, earlier)) as stream:
            while not attempt.is_complete:
                with stop:
                    parts = await read_parts(stream, name)
                received_at = self._clock.now()
                if not await attempt.publish_parts(parts, stop, max_runs=max_runs):
                    continue
                if not attempt.is_complete:
                    with stop:
                        await self._flush_timer.wait(since=received_at)

    async def _show_to_approvers(self, record: Generation) -> None:
        """Publish the request of a suspended answer to those who may answer it."""
        stored = record.inputs.get(record.suspended or "")
        if stored is not None:
            await publish_request(self._events, record, stored.request)

    async def _cancel_ended(self, record: Generation) -> None:
        """Cancel an answer that a node has ended while it was suspended or had no worker."""
        if record.suspended is not None or record.status is Status.STOPPED:
            checkpoint = read_durable_state(record.journal).checkpoint
            await self._cancel(record.request, checkpoint)

    async def _cancel(self, request: GenerationRequest, checkpoint: Checkpoint | None) -> None:
        """Cancel an answer that has ended and may go on at its endpoint."""
        upstream = self._upstreams.get(request.upstream)
        if upstream is not None and checkpoint is not None:
            await cancel_answer(upstream, request, checkpoint)

    def _open_stream(
        self, attempt: Attempt, earlier: Mapping[str, bytes]
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Return the parts of the answer that may be published."""
        record = attempt.record
        context = GenerationContext(
            user=record.user,
            generation=record.id,
            attempt=attempt.number,
            chat=record.request.chat,
            metadata=record.request.metadata,
            earlier=earlier,
            inputs=attempt.state.inputs,
        )
        source = self._open_source(attempt, context)
        guard = self._guards.get(record.request.upstream)
        if guard is None:
            return source
        checkpoint = attempt.state.checkpoint
        shown = "" if checkpoint is None else FoldedParts(checkpoint.folded).text
        return guard.stream(source, context, shown=shown)

    def _open_source(
        self, attempt: Attempt, context: GenerationContext
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Return what produces the answer. Raise UpstreamError if this worker has no such."""
        request = attempt.record.request
        function = self._functions.get(request.upstream)
        if function is not None:
            return function.stream(attempt.record, attempt.number, attempt.state)
        upstream = self._upstreams.get(request.upstream)
        if upstream is None:
            message = f"this worker has no upstream named {request.upstream!r}"
            raise UpstreamError("upstream_unknown", message, retryable=False)
        return open_stream(upstream, request, context, attempt.state.checkpoint)

    def _retries(self, record: Generation) -> int:
        """Return how often the function of a generation may be called again."""
        function = self._functions.get(record.request.upstream)
        return 0 if function is None else function.retries


def _describe_failure(error: UpstreamError) -> dict[str, Any]:
    """Return the fields of `generation.failed`; what the upstream did not report is absent."""
    reported = {
        "upstream_status": error.status,
        "upstream_code": error.reported_code,
        "upstream_param": error.param,
    }
    return {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        **{name: value for name, value in reported.items() if value is not None},
    }
