"""One generation from its upstream into its user's channel: begin, deltas, exactly one end.

The upstream is read no faster than its answer is shown: after a delta the relay lets the answer
gather for `flush_seconds`, and then takes all that has come as the next one. What comes after a
silence is shown at once.

Rules:
1. Every event carries (generation, attempt); when the broker refuses one, another attempt owns the
   generation or it has ended, and this one writes nothing more.
2. Exactly one end event: the broker refuses a second.
3. A publish whose answer was lost is repeated: its key or its index makes that harmless.
4. A wish to stop interrupts the reading and the waiting, never a publish.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final

import msgspec
import structlog

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationUpdate, Status, UpdateKind, end_fields
from hub.core.stream_parts import (
    Finished,
    ReasoningDelta,
    StreamPart,
    TextDelta,
    TextReplaced,
    ToolCallDelta,
    Usage,
)
from hub.errors import BrokerUnavailable, UpstreamError
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Outcome, Publication, Published
from hub.ports.generations import GenerationStore
from hub.ports.upstreams import Upstream

_PUBLISH_RETRY_SECONDS: Final = 0.2  # between two tries to publish
_log = structlog.get_logger(__name__)


class StopSignal:
    """Carries a wish to stop to the relay of one generation, from wherever it was heard.

    `with wish:` around what it may interrupt: it raises Stopped there, at once when it was made
    before.
    """

    def __init__(self) -> None:
        self.by: str | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def set(self, by: str) -> None:
        """The first wish counts."""
        if self.by is not None:
            return
        self.by = by
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def __enter__(self) -> None:
        if self.by is not None:
            raise StopRequested
        self._task = asyncio.current_task()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if self._cancelled and task is not None:
            self._cancelled = False
            if task.uncancel() == 0:  # else the worker wishes more than that it stops
                raise StopRequested from None


class StopRequested(Exception):
    """A wish to stop was heard."""


class _Refused(Exception):
    """The generation is no longer this attempt's."""


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_attempts: of workers at one generation. max_text_bytes: of an answer. flush_seconds: how
    long deltas gather. broker_patience_seconds: how long a publish is repeated while the broker is
    away. max_queued_seconds: how old a question may be when its answer begins.
    """

    max_attempts: int = 3
    max_text_bytes: int = 1024 * 1024
    flush_seconds: float = 0.025
    broker_timeout_seconds: float = 15.0
    max_queued_seconds: float = 600.0


class GenerationResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a generation ended here, for those who count. Times in seconds, from the question."""

    generation: Generation
    status: Status
    code: str = ""
    usage: Mapping[str, Any] | None = None
    queued_seconds: float = 0.0
    first_delta_seconds: float | None = None
    total_seconds: float = 0.0


class Relay:
    """Runs generations, one call each. Raises BrokerUnavailable when the broker stays away."""

    def __init__(
        self,
        events: EventWriter,
        store: GenerationStore,
        upstreams: Mapping[str, Upstream],
        clock: Clock,
        limits: RelayLimits,
    ) -> None:
        self._events = events
        self._store = store
        self._upstreams = upstreams
        self._clock = clock
        self._limits = limits

    async def run(
        self, generation: str, stop: StopSignal, *, deliveries: int = 1
    ) -> GenerationResult | None:
        """Returns when the generation has ended: how, when it was this call that ended it.

        deliveries: how many workers were given it, this one too.
        """
        record = await self._store.find(generation)
        if record is None or record.status.ended:
            return None
        attempt = _Attempt(self._events, self._clock, record, self._limits)
        try:
            if record.stop_requested_by is not None:
                stop.set(record.stop_requested_by)
            self._check_startable(attempt, stop, deliveries)
            await attempt.start(stop)
            await self._relay_upstream(attempt, stop)
            return await attempt.end(Status.DONE, {"finish_reason": attempt.finish_reason})
        except _Refused:
            _log.info("generation.refused", generation=generation, attempt=attempt.number)
        except StopRequested:
            return await attempt.end(Status.STOPPED, {"by": stop.by})
        except UpstreamError as error:
            _log.warning("generation.failed", generation=generation, code=error.code)
            failure = {"code": error.code, "message": error.message, "retryable": error.retryable}
            if error.status is not None:
                failure["upstream_status"] = error.status
            return await attempt.end(Status.FAILED, failure)
        return None

    def _check_startable(self, attempt: _Attempt, stop: StopSignal, deliveries: int) -> None:
        """Raises for a generation that ends without being begun. The author of its newest attempt
        is gone or never was; its number is what the broker takes.
        """
        record, limits = attempt.record, self._limits
        attempt.number -= 1
        if stop.by is not None:
            raise StopRequested
        if max(record.attempt, deliveries - 1) >= limits.max_attempts:
            message = f"{limits.max_attempts} workers had this answer and none finished it"
            raise UpstreamError("too_many_attempts", message, retryable=True)
        if record.attempt == 0 and attempt.queued_seconds > limits.max_queued_seconds:
            message = "no worker was free for this question in time"
            raise UpstreamError("queue_timeout", message, retryable=True)
        attempt.number += 1

    async def _relay_upstream(self, attempt: _Attempt, stop: StopSignal) -> None:
        """Until the upstream says that it is done. Its connection is closed when this returns."""
        question = attempt.record.request
        upstream = self._upstreams.get(question.upstream)
        if upstream is None:
            message = f"this worker has no upstream {question.upstream!r}"
            raise UpstreamError("upstream_unknown", message, retryable=False)
        async with aclosing(upstream.stream(question)) as answer:
            while attempt.finish_reason is None:
                with stop:
                    pieces = await _next_parts(answer, question.upstream)
                came_at = self._clock.now()
                if not await attempt.publish_deltas(pieces, stop):
                    continue
                if attempt.text_bytes > self._limits.max_text_bytes:
                    message = f"the answer is longer than {self._limits.max_text_bytes} bytes"
                    raise UpstreamError("upstream_too_large", message, retryable=False)
                pause = came_at + self._limits.flush_seconds - self._clock.now()
                if pause > 0 and attempt.finish_reason is None:
                    with stop:
                        await self._clock.sleep(pause)


async def _next_parts(
    answer: AsyncGenerator[Sequence[StreamPart], None], name: str
) -> Sequence[StreamPart]:
    """What has come meanwhile. Raises UpstreamError, whatever the fault."""
    try:
        return await anext(answer)
    except UpstreamError:
        raise
    except StopAsyncIteration:
        message = "the upstream ended without saying that it is done"
        raise UpstreamError("upstream_truncated", message, retryable=True) from None
    except Exception as error:  # an adapter's fault ends one answer, not the worker
        _log.exception("upstream.adapter_failed", upstream=name)
        message = "the upstream's answer could not be read"
        raise UpstreamError("upstream_protocol", message, retryable=False) from error


class _Attempt:
    """What one attempt at one generation publishes, and how far it is."""

    def __init__(
        self, events: EventWriter, clock: Clock, record: Generation, limits: RelayLimits
    ) -> None:
        self._events = events
        self._clock = clock
        self._broker_timeout_seconds = limits.broker_timeout_seconds
        self._channel = user_channel(record.user)
        self._writer_id = secrets.token_hex(8)  # tells a repeated call from another worker's
        self._begun_at = clock.now()
        self._first_delta_seconds: float | None = None
        self.record = record
        self.queued_seconds = (
            max(0.0, time.time() - record.requested_at) if record.requested_at else 0.0
        )
        self.number = record.attempt + 1
        self.deltas = record.deltas
        self.text_bytes = 0
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None

    async def start(self, stop: StopSignal) -> None:
        """Takes the generation, unless another attempt has."""
        first = self.record.status is Status.QUEUED
        name = "generation.started" if first else "generation.restarted"
        data = {"attempt": self.number, "model": self.record.request.model}
        step = GenerationUpdate(self.record.id, self.number, UpdateKind.BEGIN, Status.RUNNING)
        self.deltas = 0
        await self._write([self._event(name, data, step, key="begin")], stop)

    async def publish_deltas(self, pieces: Sequence[StreamPart], stop: StopSignal) -> bool:
        """The pieces as the next deltas; whether there was anything to show."""
        events = []
        for piece in _coalesce(pieces):
            match piece:
                case Usage(tokens):
                    self.usage = {**(self.usage or {}), **tokens}
                case Finished(reason):
                    self.finish_reason = reason
                case _:
                    events.append(self._delta(piece))
        if events:
            await self._write(events, stop)
            if self._first_delta_seconds is None:
                self._first_delta_seconds = self._seconds()
        return bool(events)

    async def end(self, status: Status, fields: dict[str, Any]) -> GenerationResult | None:
        """The one end event; None when the generation has ended otherwise: that end stands."""
        total = self._seconds()
        data = end_fields(
            fields,
            deltas=self.deltas,
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total,
        )
        step = GenerationUpdate(self.record.id, self.number, UpdateKind.END, status)
        try:
            await self._write([self._event(f"generation.{status.value}", data, step, key="end")])
        except _Refused:
            _log.info("generation.ended_before", generation=self.record.id)
            return None
        return GenerationResult(
            generation=self.record,
            status=status,
            code=fields.get("code", ""),
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total,
        )

    def _seconds(self) -> float:
        """Since the question."""
        return self.queued_seconds + self._clock.now() - self._begun_at

    def _delta(self, piece: StreamPart) -> Publication:
        change, text, name = UpdateKind.DELTA, "", "generation.delta"
        fields: dict[str, Any] = {"i": self.deltas}
        match piece:
            case TextDelta(text):
                fields["text"] = text
            case TextReplaced(text):
                change, name = UpdateKind.REPLACE, "generation.replaced"
                fields["text"] = text
                self.text_bytes = 0
            case ReasoningDelta(thought):
                fields["reasoning"] = thought
                self.text_bytes += len(thought)
            case ToolCallDelta(calls):
                fields["tool_calls"] = calls
                self.text_bytes += len(encode_json(calls))
        step = GenerationUpdate(self.record.id, self.number, change, index=self.deltas, text=text)
        self.deltas += 1
        self.text_bytes += len(text) if text.isascii() else len(text.encode())
        return self._event(name, fields, step)

    def _event(
        self, name: str, fields: dict[str, Any], step: GenerationUpdate, *, key: str | None = None
    ) -> Publication:
        return Publication(
            channel=self._channel,
            name=name,
            data=encode_json({"generation": self.record.id, **fields}),
            idempotency_key=f"{self.record.id}/{key}/{self._writer_id}" if key else None,
            update=step,
        )

    async def _write(
        self, publications: Sequence[Publication], stop: StopSignal | None = None
    ) -> None:
        """Raises _Refused, and Stopped when the broker knows of a wish to stop."""
        stop_requested_by = None
        for published in await self._publish(publications):
            if published.outcome not in (Outcome.WRITTEN, Outcome.DUPLICATE):
                raise _Refused
            stop_requested_by = published.stop_requested_by or stop_requested_by
        if stop is not None and stop_requested_by is not None:
            stop.set(stop_requested_by)
            raise StopRequested

    async def _publish(self, publications: Sequence[Publication]) -> list[Published]:
        until = self._clock.now() + self._broker_timeout_seconds
        while True:
            try:
                return await self._events.publish(publications)
            except BrokerUnavailable:
                if self._clock.now() >= until:
                    raise
                await self._clock.sleep(_PUBLISH_RETRY_SECONDS)


def _coalesce(pieces: Sequence[StreamPart]) -> Iterator[StreamPart]:
    """The same with neighbours of a kind made one."""
    texts = [piece.text for piece in pieces if type(piece) is TextDelta]
    if len(texts) == len(pieces):  # nearly always
        yield TextDelta("".join(texts))
        return
    last: StreamPart | None = None
    for piece in pieces:
        match last, piece:
            case TextDelta(before), TextDelta(more):
                last = TextDelta(before + more)
            case ReasoningDelta(before), ReasoningDelta(more):
                last = ReasoningDelta(before + more)
            case ToolCallDelta(before), ToolCallDelta(more):
                last = ToolCallDelta(before + more)
            case TextReplaced(before), TextDelta(more):
                last = TextReplaced(before + more)
            case _:
                if last is not None:
                    yield last
                last = piece
    if last is not None:
        yield last
