"""One attempt of a worker at a generation: it turns stream parts into events and publishes them.

Rules:
1. Every event carries the generation, the number of the attempt and its writer. The broker refuses
   an event of an older attempt, of another writer, or after the end; the attempt is then superseded
   and writes nothing more.
2. There is exactly one end event: the broker refuses a second one. When the broker has lost the
   record, the worker that holds the lease publishes the end, as a failure.
3. A publish whose answer was lost is repeated. Its idempotency key or its delta index makes the
   repetition harmless.
4. A fail-over can lose the last writes. The broker then refuses the next event, because the record
   has fewer deltas or an older attempt. A worker that still holds the lease begins another attempt
   with everything that the upstream has sent so far, and reads the same stream on. So an answer
   never has a hole.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import structlog

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.generation import (
    Generation,
    GenerationUpdate,
    Status,
    UpdateKind,
    build_end_fields,
)
from hub.core.parts import (
    Annotations,
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)
from hub.engine.coalescing import coalesce
from hub.engine.stop_signal import StopRequested, StopSignal
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Outcome, Publication
from hub.ports.generations import GenerationStore

T = TypeVar("T")
_RETRY_SECONDS: Final = 0.2
_CALL_FIELDS: Final = {"index", "id", "type", "function"}
_MAX_KEPT_PARTS: Final = 64  # more of them are joined
_log = structlog.get_logger(__name__)


class AttemptSuperseded(Exception):
    """The generation has ended, belongs to a newer attempt, or its lease is lost."""


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


class Attempt:
    """Publishes the events of one attempt and counts them."""

    def __init__(self, broker: BrokerAccess, clock: Clock, record: Generation) -> None:
        self._broker = broker
        self._clock = clock
        self._channel = user_channel(record.user)
        self._writer = record.writer  # that of the previous attempt until `start`
        self._is_started = False
        self._parts: list[Part] = []  # everything that was published as deltas
        self._max_parts = _MAX_KEPT_PARTS
        self._created_at = clock.now()
        self._first_delta_seconds: float | None = None  # from the request to the first delta
        self.record = record
        self.queued_seconds = max(0.0, record.age_seconds)
        self.number = record.attempt  # that of the previous attempt until `start`
        self.deltas = record.deltas  # the index of the next delta
        self.text_bytes = 0  # the size of the answer so far
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None  # set by the part `Finished`

    async def start(self, stop: StopSignal) -> None:
        """Take over the generation with a new attempt.

        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        is_first = self.record.status is Status.QUEUED
        begin = self._build_begin("generation.started" if is_first else "generation.restarted")
        self._is_started = True
        try:
            await self._publish([begin], stop)
        except _Refused:
            raise AttemptSuperseded from None

    async def publish_parts(self, parts: Sequence[Part], stop: StopSignal) -> bool:
        """Publish the parts as the next deltas, and return whether there were any.

        Usage and the finish reason are kept for the end event.
        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        deltas: list[Part] = []
        for part in coalesce(parts):
            match part:
                case Usage(tokens):
                    self.usage = {**(self.usage or {}), **tokens}
                case Finished(reason):
                    self.finish_reason = reason
                case _:
                    deltas.append(part)
        if deltas:
            self._keep(deltas)
            try:
                await self._publish([self._build_delta(part) for part in deltas], stop)
            except _Refused:
                await self._begin_again(stop)
            if self._first_delta_seconds is None:
                self._first_delta_seconds = self._seconds_since_request()
        return bool(deltas)

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
        key = f"{self.record.id}/lost"  # the same for all workers, so that only one publishes it
        end = msgspec.structs.replace(end, idempotency_key=key, update=None)
        try:
            await self._publish([end])
        except _Refused:
            _log.info("generation.lost_before", generation=self.record.id)
        return self._build_result(status, fields, total_seconds)

    def _build_result(
        self, status: Status, fields: Mapping[str, Any], total_seconds: float
    ) -> GenerationResult:
        return GenerationResult(
            generation=self.record,
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
        """Begin the next attempt with everything so far, after a refusal (rule 4).

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
                "generation.restarted_after_loss", generation=record.id, deltas_lost=self.deltas
            )
            self.number, self.text_bytes = record.attempt, 0
            events = [self._build_begin("generation.restarted")]
            events += [self._build_delta(part) for part in coalesce(self._parts, max_runs=None)]
            try:
                await self._publish(events, stop)
                return
            except _Refused:
                continue

    def _precedes(self, record: Generation) -> bool:
        """Whether the record is one that this attempt has begun or would follow."""
        if not self._is_started or record.attempt > self.number:
            return False
        return record.attempt < self.number or record.writer == self._writer

    def _keep(self, parts: Sequence[Part]) -> None:
        """Keep parts for `_begin_again`, joined now and then so that they need little memory."""
        self._parts += parts
        if len(self._parts) > self._max_parts:
            self._parts = list(coalesce(self._parts, max_runs=None))
            self._max_parts = max(_MAX_KEPT_PARTS, 2 * len(self._parts))

    def _build_begin(self, name: str) -> Publication:
        """Return the event that begins the next attempt of this worker."""
        self.number, self.deltas = self.number + 1, 0
        self._writer = secrets.token_hex(8)
        fields = {"attempt": self.number, "model": self.record.request.model}
        update = self._build_update(UpdateKind.BEGIN)
        return self._build_event(name, fields, update, key="begin")

    def _build_end(
        self, status: Status, fields: dict[str, Any], total_seconds: float
    ) -> Publication:
        data = build_end_fields(
            fields,
            deltas=self.deltas,
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total_seconds,
        )
        update = self._build_update(UpdateKind.END, status)
        return self._build_event(f"generation.{status.value}", data, update, key="end")

    def _build_delta(self, part: Part) -> Publication:
        kind, text, name = UpdateKind.DELTA, "", "generation.delta"
        fields: dict[str, Any] = {"i": self.deltas}
        match part:
            case Text(text):
                fields["text"] = text
            case Replace(text):
                kind, name = UpdateKind.REPLACE, "generation.replaced"
                fields["text"] = text
                self.text_bytes = 0
            case Reasoning(reasoning):
                fields["reasoning"] = reasoning
                self.text_bytes += _size(reasoning)
            case ReasoningDetails(details):
                fields["reasoning_details"] = details
                self.text_bytes += len(encode_json(details))
            case ToolCallDelta(calls):
                fields["tool_calls"] = calls
                self.text_bytes += sum(map(_size_of_call, calls))
            case Annotations(annotations):
                fields["annotations"] = annotations
                self.text_bytes += len(encode_json(annotations))
        update = self._build_update(kind, text=text)
        self.deltas += 1
        self.text_bytes += _size(text)
        return self._build_event(name, fields, update)

    def _build_update(
        self, kind: UpdateKind, status: Status = Status.RUNNING, text: str = ""
    ) -> GenerationUpdate:
        return GenerationUpdate(
            self.record.id, self.number, kind, status, self.deltas, text, self._writer
        )

    def _build_event(
        self, name: str, fields: dict[str, Any], update: GenerationUpdate, *, key: str | None = None
    ) -> Publication:
        return Publication(
            channel=self._channel,
            name=name,
            data=encode_json({"generation": self.record.id, **fields}),
            idempotency_key=f"{self.record.id}/{key}/{self._writer}" if key else None,
            update=update,
        )

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


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _size_of_call(call: Mapping[str, Any]) -> int:
    """Return the size of a delta of a tool call: of its values, without the names of its fields."""
    function = call["function"]
    texts = (function["arguments"], function.get("name", ""), call.get("id", ""))
    extras = {name: call[name] for name in call.keys() - _CALL_FIELDS}
    return sum(map(_size, texts)) + (len(encode_json(extras)) if extras else 0)
