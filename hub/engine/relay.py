"""One generation from its upstream into its user's channel: begin, deltas, exactly one end.

The upstream is read by a task of its own, which hands its pieces over through a short queue; the
relay publishes them. So a stop ends the reading at once, and never cuts a publish in the middle.

Rules:
1. Every event carries (generation, attempt); when the broker refuses one, another attempt owns the
   generation or it has ended, and this one writes nothing more.
2. Exactly one end event: the broker refuses a second.
3. A publish whose answer was lost is repeated: its key or its index makes that harmless.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import structlog

from hub.core.channel import user_channel
from hub.core.event import encode_json
from hub.core.generation import Change, Generation, Status, Step
from hub.core.piece import Finish, Piece, Reasoning, Replaced, Text, ToolCalls, Usage
from hub.errors import BrokerUnavailable, UpstreamError
from hub.ports import Broker, Clock, GenerationStore, Outcome, Publication, Published, Upstream

_PIECES_AHEAD: Final = 64
_PAUSE_SECONDS: Final = 0.2  # between two tries to publish
_log = structlog.get_logger(__name__)


class StopWish:
    """Carries a wish to stop to the relay of one generation, from wherever it was heard."""

    def __init__(self) -> None:
        self.by: str | None = None
        self.came = asyncio.Event()

    def make(self, by: str) -> None:
        """The first wish counts."""
        if self.by is None:
            self.by = by
            self.came.set()


class _Refused(Exception):
    """The generation is no longer this attempt's."""


class _Stopped(Exception):
    """A wish to stop was heard."""


class Relay:
    """Runs generations, one call each. Raises BrokerUnavailable when the broker stays away."""

    def __init__(
        self,
        broker: Broker,
        store: GenerationStore,
        upstreams: Mapping[str, Upstream],
        clock: Clock,
        *,
        max_attempts: int,
        max_text_bytes: int,
        broker_patience_seconds: float,
    ) -> None:
        self._broker = broker
        self._store = store
        self._upstreams = upstreams
        self._clock = clock
        self._max_attempts = max_attempts
        self._max_text_bytes = max_text_bytes
        self._patience_seconds = broker_patience_seconds

    async def run(self, generation: str, stop: StopWish) -> None:
        """Returns when the generation has ended, by this call or another."""
        record = await self._store.find(generation)
        if record is None or record.status.ended:
            return
        attempt = _Attempt(self._broker, self._clock, record, self._patience_seconds)
        try:
            if record.attempt >= self._max_attempts:
                # The newest attempt's author is gone; its number is what the broker takes.
                attempt.number = record.attempt
                message = f"{record.attempt} workers began this answer and none finished it"
                raise UpstreamError("too_many_attempts", message, retryable=True)
            await attempt.begin(stop)
            await self._answer(attempt, record, stop)
        except _Refused:
            _log.info("generation.refused", generation=generation, attempt=attempt.number)
        except _Stopped:
            await attempt.end(Status.STOPPED, {"by": stop.by, "deltas": attempt.deltas})
        except UpstreamError as error:
            _log.warning("generation.failed", generation=generation, code=error.code)
            failure = {"code": error.code, "message": error.message, "retryable": error.retryable}
            await attempt.end(Status.FAILED, failure)

    async def _answer(self, attempt: _Attempt, record: Generation, stop: StopWish) -> None:
        upstream = self._upstreams.get(record.question.upstream)
        if upstream is None:
            name = record.question.upstream
            raise UpstreamError(
                "upstream_unknown", f"this worker has no upstream {name!r}", retryable=False
            )
        pieces: asyncio.Queue[Piece | UpstreamError] = asyncio.Queue(_PIECES_AHEAD)
        reader = asyncio.create_task(
            _read(upstream, record, pieces),
            name=f"read {record.id} from {record.question.upstream}",
        )
        stopper = asyncio.create_task(_end_by_wish(stop, reader, pieces))
        usage: dict[str, Any] | None = None
        try:
            while True:
                piece = await pieces.get()
                if stop.by is not None:
                    raise _Stopped
                match piece:
                    case UpstreamError():
                        raise piece
                    case Usage(tokens):
                        usage = tokens
                    case Finish(reason):
                        end = {"finish_reason": reason, "usage": usage, "deltas": attempt.deltas}
                        return await attempt.end(Status.DONE, end)
                    case _:
                        await attempt.delta(piece, stop)
                        if attempt.text_bytes > self._max_text_bytes:
                            raise UpstreamError(
                                "upstream_too_large",
                                f"the answer is longer than {self._max_text_bytes} bytes",
                                retryable=False,
                            )
        finally:
            stopper.cancel()
            reader.cancel()
            # The upstream's connection is closed before the end is told.
            await asyncio.wait({reader, stopper})


class _Attempt:
    """What one attempt at one generation publishes, and how far it is."""

    def __init__(
        self, broker: Broker, clock: Clock, record: Generation, patience_seconds: float
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._record = record
        self._patience_seconds = patience_seconds
        self._author = secrets.token_hex(8)  # tells a repeated call from another worker's
        self.number = record.attempt + 1
        self.deltas = 0
        self.text_bytes = 0

    async def begin(self, stop: StopWish) -> None:
        """Takes the generation, unless another attempt has."""
        first = self._record.status is Status.QUEUED
        name = "generation.started" if first else "generation.restarted"
        model = self._record.question.model
        await self._write(
            name,
            {"attempt": self.number, "model": model},
            Step(self._record.id, self.number, Change.BEGIN, Status.RUNNING),
            key="begin",
            stop=stop,
        )

    async def delta(self, piece: Text | Reasoning | ToolCalls | Replaced, stop: StopWish) -> None:
        """One piece of the answer, as the next delta."""
        change, text, name = Change.DELTA, "", "generation.delta"
        fields: dict[str, Any] = {"i": self.deltas}
        match piece:
            case Text(text):
                fields["text"] = text
            case Replaced(text):
                change, name = Change.REPLACE, "generation.replaced"
                fields["text"] = text
                self.text_bytes = 0
            case Reasoning(thought):
                fields["reasoning"] = thought
            case ToolCalls(calls):
                fields["tool_calls"] = calls
        step = Step(self._record.id, self.number, change, index=self.deltas, text=text)
        self.deltas += 1
        self.text_bytes += len(text.encode())
        await self._write(name, fields, step, stop=stop)

    async def end(self, status: Status, fields: dict[str, Any]) -> None:
        """The one end event; when the generation has ended otherwise, that end stands."""
        step = Step(self._record.id, self.number, Change.END, status)
        try:
            await self._write(f"generation.{status.value}", fields, step, key="end")
        except _Refused:
            _log.info("generation.ended_before", generation=self._record.id)

    async def _write(
        self,
        name: str,
        fields: dict[str, Any],
        step: Step,
        *,
        key: str | None = None,
        stop: StopWish | None = None,
    ) -> None:
        publication = Publication(
            channel=user_channel(self._record.user),
            name=name,
            data=encode_json({"generation": self._record.id, **fields}),
            idempotency_key=f"{self._record.id}/{key}/{self._author}" if key else None,
            step=step,
        )
        published = await self._publish(publication)
        if published.outcome not in (Outcome.WRITTEN, Outcome.DUPLICATE):
            raise _Refused
        if stop is not None and published.stop_by is not None:
            stop.make(published.stop_by)
            raise _Stopped

    async def _publish(self, publication: Publication) -> Published:
        until = self._clock.now() + self._patience_seconds
        while True:
            try:
                (published,) = await self._broker.publish([publication])
            except BrokerUnavailable:
                if self._clock.now() >= until:
                    raise
                await self._clock.sleep(_PAUSE_SECONDS)
            else:
                return published


async def _read(
    upstream: Upstream, record: Generation, pieces: asyncio.Queue[Piece | UpstreamError]
) -> None:
    """Hands over the upstream's pieces, and last a Finish or the error."""
    try:
        async with aclosing(upstream.stream(record.question)) as stream:
            async for piece in stream:
                await pieces.put(piece)
                if isinstance(piece, Finish):
                    return
        failure = UpstreamError(
            "upstream_truncated",
            "the upstream ended without saying that it is done",
            retryable=True,
        )
    except UpstreamError as error:
        failure = error
    except Exception:  # noqa: BLE001 - an adapter's fault ends one answer, not the worker
        _log.exception("upstream.adapter_failed", upstream=record.question.upstream)
        failure = UpstreamError(
            "upstream_protocol", "the upstream's answer could not be read", retryable=False
        )
    await pieces.put(failure)


async def _end_by_wish(
    stop: StopWish, reader: asyncio.Task[None], pieces: asyncio.Queue[Piece | UpstreamError]
) -> None:
    """Ends the reading when a stop is wished, and wakes the relay, which looks at the wish."""
    await stop.came.wait()
    reader.cancel()
    while not pieces.empty():
        pieces.get_nowait()
    pieces.put_nowait(Text(""))
