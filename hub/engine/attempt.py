"""One attempt of a worker at a generation: it turns stream parts into events and publishes them.

Rules:
1. Every event carries the generation and the number of the attempt. The broker refuses an event of
   an older attempt or after the end; the attempt is then superseded and writes nothing more.
2. There is exactly one end event: the broker refuses a second one.
3. A publish whose answer was lost is repeated. Its idempotency key or its delta index makes the
   repetition harmless.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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
from hub.core.stream_parts import (
    Finished,
    ReasoningDelta,
    StreamPart,
    TextDelta,
    TextReplaced,
    ToolCallDelta,
    Usage,
)
from hub.engine.stop_signal import StopRequested, StopSignal
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Outcome, Publication, Published

_PUBLISH_RETRY_SECONDS: Final = 0.2
_log = structlog.get_logger(__name__)


class AttemptSuperseded(Exception):
    """The generation belongs to a newer attempt, or has ended."""


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

    def __init__(
        self,
        events: EventWriter,
        clock: Clock,
        record: Generation,
        *,
        broker_timeout_seconds: float,
    ) -> None:
        self._events = events
        self._clock = clock
        self._broker_timeout_seconds = broker_timeout_seconds
        self._channel = user_channel(record.user)
        self._writer_id = secrets.token_hex(8)  # in keys: tells a repetition from another worker
        self._created_at = clock.now()
        self._first_delta_seconds: float | None = None  # from the request to the first delta
        self.record = record
        self.queued_seconds = (
            max(0.0, time.time() - record.requested_at) if record.requested_at else 0.0
        )
        self.number = record.attempt  # that of the previous attempt until `start`
        self.deltas = record.deltas  # the index of the next delta
        self.text_bytes = 0  # the size of the answer so far
        self.usage: dict[str, Any] | None = None
        self.finish_reason: str | None = None  # set by the part `Finished`

    async def start(self, stop: StopSignal) -> None:
        """Take over the generation with a new attempt.

        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        self.number += 1
        self.deltas = 0
        is_first = self.record.status is Status.QUEUED
        name = "generation.started" if is_first else "generation.restarted"
        fields = {"attempt": self.number, "model": self.record.request.model}
        update = GenerationUpdate(self.record.id, self.number, UpdateKind.BEGIN, Status.RUNNING)
        await self._publish([self._build_event(name, fields, update, key="begin")], stop)

    async def publish_parts(self, parts: Sequence[StreamPart], stop: StopSignal) -> bool:
        """Publish the parts as the next deltas, and return whether there were any.

        Usage and the finish reason are kept for the end event.
        Raise AttemptSuperseded, StopRequested, BrokerUnavailable.
        """
        events = []
        for part in coalesce(parts):
            match part:
                case Usage(tokens):
                    self.usage = {**(self.usage or {}), **tokens}
                case Finished(reason):
                    self.finish_reason = reason
                case _:
                    events.append(self._build_delta(part))
        if events:
            await self._publish(events, stop)
            if self._first_delta_seconds is None:
                self._first_delta_seconds = self._seconds_since_request()
        return bool(events)

    async def end(self, status: Status, fields: dict[str, Any]) -> GenerationResult | None:
        """Publish the end event; fields: those of this kind of end.

        Return None when the generation has already ended in another way. Raise BrokerUnavailable.
        """
        total_seconds = self._seconds_since_request()
        data = build_end_fields(
            fields,
            deltas=self.deltas,
            usage=self.usage,
            queued_seconds=self.queued_seconds,
            first_delta_seconds=self._first_delta_seconds,
            total_seconds=total_seconds,
        )
        update = GenerationUpdate(self.record.id, self.number, UpdateKind.END, status)
        name = f"generation.{status.value}"
        try:
            await self._publish([self._build_event(name, data, update, key="end")])
        except AttemptSuperseded:
            _log.info("generation.already_ended", generation=self.record.id)
            return None
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

    def _build_delta(self, part: StreamPart) -> Publication:
        kind, text, name = UpdateKind.DELTA, "", "generation.delta"
        fields: dict[str, Any] = {"i": self.deltas}
        match part:
            case TextDelta(text):
                fields["text"] = text
            case TextReplaced(text):
                kind, name = UpdateKind.REPLACE, "generation.replaced"
                fields["text"] = text
                self.text_bytes = 0
            case ReasoningDelta(reasoning):
                fields["reasoning"] = reasoning
                self.text_bytes += len(reasoning)
            case ToolCallDelta(calls):
                fields["tool_calls"] = calls
                self.text_bytes += len(encode_json(calls))
        update = GenerationUpdate(self.record.id, self.number, kind, index=self.deltas, text=text)
        self.deltas += 1
        self.text_bytes += len(text) if text.isascii() else len(text.encode())
        return self._build_event(name, fields, update)

    def _build_event(
        self, name: str, fields: dict[str, Any], update: GenerationUpdate, *, key: str | None = None
    ) -> Publication:
        return Publication(
            channel=self._channel,
            name=name,
            data=encode_json({"generation": self.record.id, **fields}),
            idempotency_key=f"{self.record.id}/{key}/{self._writer_id}" if key else None,
            update=update,
        )

    async def _publish(
        self, publications: Sequence[Publication], stop: StopSignal | None = None
    ) -> None:
        """Publish, and check what the broker knows: refusals, and stop requests without a notice.

        stop: None for the end event, which no stop request interrupts.
        """
        stop_requested_by = None
        for published in await self._publish_with_retry(publications):
            if published.outcome not in (Outcome.WRITTEN, Outcome.DUPLICATE):
                raise AttemptSuperseded
            stop_requested_by = published.stop_requested_by or stop_requested_by
        if stop is not None and stop_requested_by is not None:
            stop.set(stop_requested_by)
            raise StopRequested

    async def _publish_with_retry(self, publications: Sequence[Publication]) -> list[Published]:
        deadline = self._clock.now() + self._broker_timeout_seconds
        while True:
            try:
                return await self._events.publish(publications)
            except BrokerUnavailable:
                if self._clock.now() >= deadline:
                    raise
                await self._clock.sleep(_PUBLISH_RETRY_SECONDS)


def coalesce(parts: Sequence[StreamPart]) -> Iterator[StreamPart]:
    """Join neighbours of the same kind; the order of the kinds is kept."""
    texts = [part.text for part in parts if type(part) is TextDelta]
    if len(texts) == len(parts):  # nearly always
        yield TextDelta("".join(texts))
        return
    last: StreamPart | None = None
    for part in parts:
        match last, part:
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
                last = part
    if last is not None:
        yield last
