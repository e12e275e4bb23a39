"""One attempt of a worker at a generation: it turns stream parts into events and publishes them.

Rules:
1. Every event carries the generation, the number of the attempt and its writer. The broker refuses
   an event of an older attempt, of another writer, or after the end; the attempt is then superseded
   and writes nothing more.
2. There is exactly one end event: the broker refuses a second one. When the broker has lost the
   record, the worker that holds the lease publishes the end, as a failure.
3. A publish whose answer was lost is repeated. Its idempotency key or its delta index makes the
   repetition harmless.
4. An attempt that keeps what a lost one has stored begins only if the record has not changed since
   it was read; otherwise it reads the record again. So nothing that was stored is lost.
5. A fail-over can lose the last writes. The broker then refuses the next event, because the record
   has fewer deltas or an older attempt. A worker that still holds the lease begins another attempt
   with everything that the upstream has sent so far, and reads the same stream on. So an answer
   never has a hole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from hub.core.call_numbers import CallNumbers
from hub.core.durable import (
    AskInput,
    Checkpoint,
    DurableState,
    Restart,
    ResumePoint,
    StreamOutput,
    has_commands,
    split_at_commands,
)
from hub.core.generation import Generation, Status, build_end_fields
from hub.core.journal_entries import read_durable_state
from hub.core.part_events import to_event
from hub.core.parts import Finished, Part, Usage
from hub.core.parts_journal import PartsLimits, PartsTooLarge
from hub.core.usage import add_usage
from hub.engine.attempts.attempt_events import RESTARTED, STARTED, AttemptEvents
from hub.engine.attempts.coalescing import MAX_RUNS, coalesce, join_text
from hub.engine.attempts.stop_signal import StopRequested, StopSignal
from hub.error_codes import TOO_MANY_WAITING
from hub.errors import BrokerUnavailable, UpstreamError
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Outcome, Publication
from hub.ports.generations import GenerationStore

T = TypeVar("T")
_RETRY_SECONDS: Final = 0.2
_log = structlog.get_logger(__name__)


class AttemptSuperseded(Exception):
    """The generation has ended, belongs to a newer attempt, or its lease is lost."""


class OtherVersion(Exception):
    """Only workers of another version may continue the generation."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


class _Refused(Exception):
    """The broker refused an event of this attempt."""


class BrokerAccess(msgspec.Struct, frozen=True):
    """What an attempt needs of the backend.

    holds_lease: returns whether this worker still holds the lease of the job, and renews it.
    timeout_seconds: how long a call is repeated while the broker is unavailable.
    """

    events: EventWriter
    store: GenerationStore
    holds_lease: Callable[[], Awaitable[bool]]
    timeout_seconds: float


class GenerationResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a generation ended on this worker. All durations count from the request, in seconds.

    code: that of `generation.failed`, else empty. usage: the token counts the upstream reported.
    first_delta_seconds: None when there was no delta.
    """

    generation: Generation
    status: Status
    code: str = ""
    usage: Mapping[str, Any] | None = None
    queued_seconds: float = 0.0
    first_delta_seconds: float | None = None
    total_seconds: float = 0.0


def lost_key(generation: str) -> str:
    """Return the idempotency key of the end without a record, the same for all processes."""
    return f"{generation}/lost"


class Attempt:
    """Publishes the events of one attempt and counts them."""

    def __init__(
        self,
        broker: BrokerAccess,
        clock: Clock,
        record: Generation,
        limits: PartsLimits,
        *,
        version: str = "",
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._events = AttemptEvents(record, limits, version=version)
        self._is_started = False
        self._call_numbers = CallNumbers()
        self._created_at = clock.now()
        self._first_delta_seconds: float | None = None  # from the request to the first delta
        self.record = record
        self.queued_seconds = max(0.0, record.age_seconds)
        self._earlier_usage: Mapping[str, Any] | None = None  # of the parts before the checkpoint
        self._usage: Mapping[str, Any] | None = None  # of this attempt
        self.finish_reason: str | None = None  # set by the part `Finished`
        self.suspension: AskInput | None = None  # set by the command that ends the attempt

    @property
    def number(self) -> int:
        """The number of the attempt; that of the previous one until `start`."""
        return self._events.number

    @property
    def is_complete(self) -> bool:
        """Whether the producer yields nothing more: the answer is finished or suspended."""
        return self.finish_reason is not None or self.suspension is not None

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The token counts so far, None if there are none."""
        if self._earlier_usage is None or self._usage is None:
            return self._earlier_usage or self._usage
        return add_usage(self._earlier_usage, self._usage)

    @property
    def state(self) -> DurableState:
        """What earlier attempts have stored, as of `start`."""
        return self._events.state

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint: that of the record until `start`."""
        if not self._is_started:
            return read_durable_state(self.record.journal).checkpoint
        return self._events.checkpoint

    async def start(self, stop: StopSignal) -> None:
        """Take over the generation with a new attempt.

        What earlier attempts have stored is kept, and the parts up to their checkpoint. All other
        parts are void. Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        is_first = self.record.attempt == 0 and not self._is_started
        name = STARTED if is_first else RESTARTED
        record = await self._find_previous() if self._is_started else self.record
        while True:
            try:
                return await self._begin(self._events.begin_after(record, name), stop)
            except _Refused:
                newest = await self._find_previous()
                if newest.attempt != record.attempt or newest.journal == record.journal:
                    raise AttemptSuperseded from None
                record = newest

    async def _begin(self, publications: Sequence[Publication], stop: StopSignal) -> None:
        """Publish the events that begin the attempt. Raise _Refused."""
        self._is_started = True
        checkpoint = self.state.checkpoint
        self._earlier_usage = checkpoint.usage if checkpoint else None
        self._usage = self.finish_reason = self.suspension = None
        self._call_numbers = CallNumbers(self._events.next_call)
        await self._publish(publications, stop)

    async def _find_previous(self) -> Generation:
        """Return the record of the attempt before this one. Raise AttemptSuperseded."""
        record = await self._with_retry(lambda: self._broker.store.find(self.record.id))
        if record is None or record.status.ended:
            raise AttemptSuperseded
        if not await self._with_retry(self._broker.holds_lease):
            raise AttemptSuperseded
        return record

    async def publish_parts(
        self, parts: Sequence[StreamOutput], stop: StopSignal, *, max_runs: int | None = MAX_RUNS
    ) -> bool:
        """Publish the next parts, carry out the commands between them, and store resume points.

        Usage and the finish reason are kept for the end event. max_runs: as in `coalesce`; None
        keeps the order of all parts.
        Return whether the next parts may wait for the rest of the flush interval: not if none of
        these has an event, nor if the producer waits for a command.
        Raise UpstreamError if the answer becomes too large; the parts before that are published.
        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        publications: list[Publication] = []
        problem = None
        try:
            self._build_parts(parts, max_runs, publications)
        except PartsTooLarge as error:
            self._count_usage(parts)  # also of the parts behind the one that is too large
            problem = error
        if publications:
            try:
                await self._publish(publications, stop)
            except _Refused:
                await self._begin_again(stop)
        has_events = any(publication.name for publication in publications)
        if has_events and self._first_delta_seconds is None:
            self._first_delta_seconds = self._seconds_since_request()
        if problem is not None:
            raise UpstreamError("answer_too_large", str(problem), retryable=False)
        return has_events and not has_commands(parts)

    def _build_parts(
        self,
        output: Sequence[StreamOutput],
        max_runs: int | None,
        publications: list[Publication],
    ) -> None:
        """Append the publications. Raise PartsTooLarge; those before it are appended."""
        if (text := join_text(output)) is not None:  # nearly always
            publications.append(self._events.text(text))
            return
        for parts, command in split_at_commands(output):
            self._count_usage(parts)
            for part in coalesce(self._call_numbers.number(parts), max_runs=max_runs):
                if isinstance(part, Finished):
                    self.finish_reason = part.reason
                elif not isinstance(part, Usage):
                    self._build_part(part, publications)
            if isinstance(command, Restart):
                self._call_numbers = CallNumbers()
            if isinstance(command, ResumePoint):
                with_point = self._events.resume_point(command, self.usage, publications)
                publications[:] = with_point
            elif command is not None:
                publications += self._events.command(command, self.usage)
            if isinstance(command, AskInput) and command.save is not None:
                self.suspension = command
        publications += self._events.flush()

    def _build_part(self, part: Part, publications: list[Publication]) -> None:
        publication = self._events.part(to_event(part))
        if publication is not None:
            publications.append(publication)

    def _count_usage(self, output: Sequence[StreamOutput]) -> None:
        if Usage not in map(type, output):
            return
        for part in output:
            if isinstance(part, Usage):
                self._usage = {**(self._usage or {}), **part.tokens}

    async def confirm_suspension(self, stop: StopSignal) -> Generation:
        """Return the record of the answer, which is suspended.

        Raise UpstreamError if the user has too many suspended answers, AttemptSuperseded,
        StopRequested, BrokerUnavailable.
        """
        assert self.suspension is not None
        for is_repeated in (False, True):
            record = await self._with_retry(lambda: self._broker.store.find(self.record.id))
            if record is None or record.status.ended:
                raise AttemptSuperseded
            if record.suspended is not None:
                return record
            if not is_repeated:  # a fail-over may have lost it, and the parts were published again
                try:
                    command = self._events.command(self.suspension, self.usage)
                    await self._publish(command, stop)
                except _Refused:
                    raise AttemptSuperseded from None
        message = "too many answers of this user wait for a value; try again later"
        raise UpstreamError(TOO_MANY_WAITING.name, message, retryable=True)

    async def end(self, status: Status, fields: dict[str, Any]) -> GenerationResult:
        """Publish the end event; fields: those of this kind of end.

        Raise AttemptSuperseded, BrokerUnavailable.
        """
        total_seconds = self._seconds_since_request()
        while True:
            try:
                await self._publish([self._build_end(status, fields, total_seconds)])
                break
            except _Refused:
                await self._begin_again(None)
        return self._build_result(status, fields, total_seconds)

    async def end_without_record(self, status: Status, fields: dict[str, Any]) -> GenerationResult:
        """Publish the end event of a generation whose record the broker has lost.

        No record refuses a second end, so only a worker that holds the lease may call this.
        fields: as in `end`. Raise BrokerUnavailable.
        """
        total_seconds = self._seconds_since_request()
        end = self._build_end(status, fields, total_seconds)
        end = msgspec.structs.replace(end, idempotency_key=lost_key(self.record.id), update=None)
        try:
            await self._publish([end])
        except _Refused:
            _log.info("generation.lost_before", generation=self.record.id)
        return self._build_result(status, fields, total_seconds)

    def _build_result(
        self, status: Status, fields: Mapping[str, Any], total_seconds: float
    ) -> GenerationResult:
        return GenerationResult(
            generation=msgspec.structs.replace(self.record, inputs=self._events.inputs),
            status=status,
            code=fields.get("code", ""),
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total_seconds,
        )

    def _seconds_since_request(self) -> float:
        return self.queued_seconds + self._clock.now() - self._created_at

    async def _begin_again(self, stop: StopSignal | None) -> None:
        """Begin the next attempt with everything so far, after a refusal (rule 5).

        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        while True:
            record = await self._with_retry(lambda: self._broker.store.find(self.record.id))
            if record is None or record.status.ended or not self._precedes(record):
                raise AttemptSuperseded
            # The order matters: a worker that began an attempt after `find` is found by the broker.
            if not await self._with_retry(self._broker.holds_lease):
                raise AttemptSuperseded
            _log.warning(
                "generation.restarted_after_loss",
                generation=record.id,
                deltas_lost=self._events.deltas,
            )
            self._events.number = record.attempt
            try:
                await self._publish(self._events.begin_again(), stop)
                return
            except _Refused:
                continue

    def _precedes(self, record: Generation) -> bool:
        """Whether the record is one that this attempt has begun or would follow."""
        if not self._is_started or record.attempt > self.number:
            return False
        return record.attempt < self.number or record.writer == self._events.writer

    def _build_end(
        self, status: Status, fields: dict[str, Any], total_seconds: float
    ) -> Publication:
        data = build_end_fields(
            fields,
            deltas=self._events.deltas,
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total_seconds,
        )
        return self._events.end(status, data)

    async def _publish(
        self, publications: Sequence[Publication], stop: StopSignal | None = None
    ) -> None:
        """Publish, and check what the broker knows: refusals, and stop requests without a notice.

        stop: None for the end event, which no stop request interrupts.
        Raise _Refused, StopRequested, BrokerUnavailable.
        """
        stop_requested_by = None
        for published in await self._with_retry(lambda: self._broker.events.publish(publications)):
            if published.outcome not in (Outcome.WRITTEN, Outcome.DUPLICATE):
                raise _Refused
            stop_requested_by = published.stop_requested_by or stop_requested_by
        if stop is not None and stop_requested_by is not None:
            stop.set(stop_requested_by)
            raise StopRequested

    async def _with_retry(self, call: Callable[[], Awaitable[T]]) -> T:
        deadline = self._clock.now() + self._broker.timeout_seconds
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                if self._clock.now() >= deadline:
                    raise
                await self._clock.sleep(_RETRY_SECONDS)
