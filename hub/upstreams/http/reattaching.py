"""Endpoints that generate without a connection: it is attached again, also by another worker.

    the request → events … cut → the same answer behind the newest event → events … finished

The wire format is a `ReattachableDialect`. A resume point is the position behind the newest event,
with what a new reader must know; the relay stores it together with the parts.

Rules:
1. Before the endpoint has named the answer, nothing can be attached again: the failure is that of
   any request.
2. Within one call of `resumable_stream` the same reader goes on, so readers of the answer notice
   nothing of a cut connection.
3. An answer that the endpoint does not have any more, or whose events have a hole, is lost. It is
   generated anew once, behind a `Restart`.
4. `stream` asks for an answer that ends with its connection: whoever calls it cannot continue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NoReturn, Protocol

import aiohttp
import msgspec
import structlog

from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Usage
from hub.errors import UpstreamError
from hub.upstreams.dialect import ResponseReader, UpstreamRequest
from hub.upstreams.http.upstream import HttpUpstream
from hub.upstreams.reading.stream_reader import StreamReader

CANCEL_TIMEOUT_SECONDS: Final = 5.0
_MAX_FAILURES: Final = 8  # in a row, without a new event
_MAX_SILENCES: Final = 2  # the same, of those that took as long as `idle_seconds`
_MIN_DELAY_SECONDS: Final = 0.1
_MAX_DELAY_SECONDS: Final = 5.0
_CUTS: Final = frozenset({"upstream_truncated", "upstream_unreachable", "upstream_timeout"})
_FORBIDDING_STATUSES: Final = frozenset({401, 403})  # the answer is there, for somebody else
_log = structlog.get_logger(__name__)


class AnswerLost(UpstreamError):
    """The endpoint cannot continue the answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__("upstream_truncated", message, retryable=True, status=status)


class PositionedReader(ResponseReader, Protocol):
    """Reads the events of one answer, which may come from several connections.

    position: where a connection continues for this reader, JSON; None until the endpoint has named
    the answer. point: the same for a new reader; None where a new one cannot begin. When the answer
    is finished, it comes before the usage. first_point: the one before the first part, None if
    there was none.
    """

    @property
    def position(self) -> Any | None: ...

    @property
    def point(self) -> Any | None: ...

    first_point: Any | None

    def reattach(self) -> None:
        """Expect the events of another connection, which may repeat some that were read."""
        ...


class ReattachableDialect(Protocol):
    """How a wire format begins an answer that needs no connection, and goes on with it.

    position: that of a PositionedReader. Requests that it does not describe raise AnswerLost.
    """

    def build_request(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> UpstreamRequest: ...

    def build_reattachment(self, position: Any) -> UpstreamRequest: ...

    def build_cancellation(self, position: Any) -> UpstreamRequest: ...

    def new_reader(self, point: Any | None) -> PositionedReader:
        """Return a reader that goes on at this point; None means the beginning of an answer."""
        ...


class ReattachingUpstream:
    """Implements ports.upstreams.ResumableUpstream.

    http: the endpoint, for answers that end with their connection. dialect: for the others. sleep:
    waits before a connection is attached again.
    """

    def __init__(
        self,
        http: HttpUpstream,
        dialect: ReattachableDialect,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._dialect = dialect
        self._sleep = sleep

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.upstreams.Upstream.stream."""
        return self._http.stream(request, context)

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.upstreams.ResumableUpstream.resumable_stream."""
        point = None if checkpoint is None else msgspec.json.decode(checkpoint.value)
        try:
            async with aclosing(self._stream_from(request, context, point)) as stream:
                async for output in stream:
                    yield output
            return
        except AnswerLost as error:
            _log.warning("upstream.answer_lost", upstream=request.upstream, message=error.message)
        yield [Restart()]
        async with aclosing(self._stream_from(request, context, None)) as stream:
            async for output in stream:
                yield output

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.upstreams.ResumableUpstream.cancel."""
        upstream = request.upstream
        try:
            position = msgspec.json.decode(checkpoint.value)
            built = self._dialect.build_cancellation(position)
            status = await self._http.endpoint.notify(built, CANCEL_TIMEOUT_SECONDS)
        except (aiohttp.ClientError, TimeoutError, AnswerLost) as error:
            reason = type(error).__name__
            _log.warning("upstream.cancel_failed", upstream=upstream, reason=reason)
        else:
            _log.info("upstream.cancelled", upstream=upstream, status=status)

    async def _stream_from(
        self, request: GenerationRequest, context: GenerationContext | None, point: Any | None
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Yield the answer behind a point. Raise AnswerLost, UpstreamError."""
        response = self._dialect.new_reader(point)
        reader = self._http.new_reader(request, response)
        connections = _Connections(self._http.endpoint.total_seconds)
        has_point = point is not None
        try:
            while True:
                position = response.position
                if position is None:
                    chunks = self._http.endpoint.send(
                        request, context, build=self._dialect.build_request
                    )
                else:
                    response.reattach()
                    reader.reconnect()
                    built = self._dialect.build_reattachment(position)
                    chunks = self._http.endpoint.open(
                        built, context, total_seconds=connections.remaining_seconds
                    )
                try:
                    async with aclosing(
                        self._http.read(chunks, reader, request.upstream)
                    ) as parts_read:
                        async for parts in parts_read:
                            if parts or not has_point:
                                output = _with_points(parts, reader, response, has_point)
                                has_point = has_point or len(output) > len(parts)
                                yield output
                    yield reader.finish()
                    return
                except UpstreamError as error:
                    if response.position is None or reader.failure is not None:
                        raise
                    failure = error
                await self._sleep(connections.delay_after(failure, response.position != position))
                _log.info("upstream.reattached", upstream=request.upstream, code=failure.code)
        finally:
            self._http.report_odd_fields(reader, request.upstream)


def _with_points(
    parts: Sequence[Part], reader: StreamReader, response: PositionedReader, has_point: bool
) -> Sequence[StreamOutput]:
    """Return the parts with the point behind them, unless no new reader can begin there.

    has_point: whether there is an earlier one. If not, the first one comes before all parts, so
    that the name of the answer is stored as soon as it is known.
    """
    point = None if reader.holds_text else response.point
    behind = [] if point is None else [ResumePoint(point)]
    has_first = has_point or behind or response.first_point is None
    before = [] if has_first else [ResumePoint(response.first_point)]
    if not behind or response.finish_reason is None:
        return [*before, *parts, *behind]
    shown = [part for part in parts if not isinstance(part, Usage)]
    return [*shown, *behind, *(part for part in parts if isinstance(part, Usage))]


class _Connections:
    """Decides when a connection is attached again, and when the answer has failed."""

    def __init__(self, total_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = None if total_seconds is None else self._loop.time() + total_seconds
        self._failures = 0
        self._silences = 0

    @property
    def remaining_seconds(self) -> float | None:
        """How long the answer may still take; None means any time."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def delay_after(self, error: UpstreamError, has_events: bool) -> float:
        """Return after how many seconds a connection is attached again, after an error of the last.

        has_events: whether that one brought any. Raise AnswerLost, or the error.
        """
        if isinstance(error, AnswerLost):
            raise error
        if error.status is not None and not error.retryable:
            _raise_refusal(error)
        if has_events:
            self._failures = self._silences = 0
        else:
            self._failures += 1
            self._silences += error.code == "upstream_timeout"
        is_cut = error.code in _CUTS or error.retryable
        is_late = self.remaining_seconds == 0
        if not is_cut or is_late:
            raise error
        if self._failures > _MAX_FAILURES or self._silences >= _MAX_SILENCES:
            raise error
        delay = min(_MAX_DELAY_SECONDS, _MIN_DELAY_SECONDS * 2.0**self._failures)
        requested = min(_MAX_DELAY_SECONDS, error.retry_after_seconds or 0.0)
        return max(requested, delay * random.uniform(0.5, 1.0))


def _raise_refusal(error: UpstreamError) -> NoReturn:
    if error.status in _FORBIDDING_STATUSES:
        raise error
    raise AnswerLost(f"the answer cannot be continued: {error.message}", error.status)
