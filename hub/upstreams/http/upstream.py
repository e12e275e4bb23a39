"""An upstream over HTTP: chunks of bytes to stream parts, for every wire format.

    bytes (http_client) → stream parts (stream_reader)

The wire format is a `Dialect` (dialect.py). This module owns the time between the steps: what ends
the reading, and when. The relay owns what becomes of the parts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import aiohttp
import structlog

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part, Usage
from hub.errors import UpstreamError
from hub.upstreams.dialect import Dialect, ResponseReader
from hub.upstreams.http.endpoint import EndpointOptions, HttpEndpoint
from hub.upstreams.reading.stream_reader import StreamReader

FINISH_GRACE_SECONDS: Final = 5.0
"""How long the usage, or more text, may follow the finish of an answer on an open connection."""

_log = structlog.get_logger(__name__)


class HttpUpstream:
    """Implements ports.Upstream for an endpoint that speaks `dialect` over HTTP.

    max_event_bytes: the limit of one event. on_odd_fields: called with the number of fields of an
    answer that had an odd type. finish_grace_seconds: how long the reading continues after the
    finish, for the usage.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        dialect: Dialect,
        options: EndpointOptions,
        *,
        max_event_bytes: int,
        on_odd_fields: Callable[[int], None] = lambda count: None,
        finish_grace_seconds: float = FINISH_GRACE_SECONDS,
    ) -> None:
        self.endpoint = HttpEndpoint(session, dialect, options)
        self._dialect = dialect
        self._idle_seconds = options.timeouts.idle_seconds or math.inf
        self._max_event_bytes = max_event_bytes
        self._on_odd_fields = on_odd_fields
        self._finish_grace_seconds = finish_grace_seconds

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.upstreams.Upstream.stream."""
        chunks = self.endpoint.send(request, context)
        return self.read_answer(chunks, self.new_reader(request), request.upstream)

    async def read_answer(
        self, chunks: AsyncGenerator[bytes, None], reader: StreamReader, upstream: str
    ) -> AsyncGenerator[Sequence[Part], None]:
        """Yield all parts of an answer that comes in one response. Raise UpstreamError."""
        try:
            async with aclosing(self.read(chunks, reader, upstream)) as parts_read:
                async for parts in parts_read:
                    if parts:
                        yield parts
        finally:
            self.report_odd_fields(reader, upstream)
        yield reader.finish()

    def new_reader(
        self, request: GenerationRequest, response: ResponseReader | None = None
    ) -> StreamReader:
        """Return the reader of an answer. response: that of the dialect; None means a new one."""
        secrets = self.endpoint.secrets
        return StreamReader(
            self._dialect, self._max_event_bytes, secrets, request, response=response
        )

    async def read(
        self, chunks: AsyncGenerator[bytes, None], reader: StreamReader, upstream: str
    ) -> AsyncGenerator[Sequence[Part], None]:
        """Yield the parts of each chunk of one response, also if there are none.

        Raise UpstreamError for what goes wrong before the answer is finished.
        """
        try:
            async with aclosing(chunks):
                deadlines = _Deadlines(self._idle_seconds, self._finish_grace_seconds)
                while chunk := (
                    await anext(chunks, b"")
                    if deadlines.finish is None
                    else await _next_chunk(chunks, deadlines.finish)
                ):
                    parts = reader.feed(chunk)
                    yield parts
                    if reader.failure is not None:
                        raise reader.failure
                    if reader.done:
                        return
                    deadlines.update(reader, parts)
                if chunk is None:
                    _log.info("upstream.left_open", upstream=upstream)  # later text would be lost
                if parts := reader.end():
                    yield parts
                if reader.failure is not None:
                    raise reader.failure
        except UpstreamError as error:
            if not reader.finished:  # a finished answer is complete, whatever happens after it
                raise
            _log.debug("upstream.failed_after_finish", upstream=upstream, code=error.code)

    def report_odd_fields(self, reader: StreamReader, upstream: str) -> None:
        """Report the fields of an answer that had an odd type, if there were any."""
        if fields := reader.odd_fields:
            self._on_odd_fields(sum(fields.values()))
            _log.warning("upstream.odd_fields", upstream=upstream, fields=fields)


class _Deadlines:
    """Until when an answer must go on. finish: None until the upstream has reported the finish."""

    def __init__(self, idle_seconds: float, finish_grace_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._finish_grace_seconds = finish_grace_seconds
        self._now = asyncio.get_running_loop().time
        self._events, self._read_at = 0, self._now()
        self.finish: float | None = None

    def update(self, reader: StreamReader, parts: Sequence[Part]) -> None:
        """Note what a chunk had. Raise UpstreamError if there were only comments for too long."""
        if not reader.finished:
            self.finish = None
        elif self.finish is None or any(type(part) is not Usage for part in parts):
            is_sure = reader.finish_is_sure
            wait_seconds = self._finish_grace_seconds if is_sure else self._idle_seconds
            self.finish = self._now() + wait_seconds
        if reader.events != self._events:
            self._events, self._read_at = reader.events, self._now()
        elif self._now() - self._read_at > self._idle_seconds:
            message = "the upstream sent only comments for too long"
            raise UpstreamError("upstream_timeout", message, retryable=True)


async def _next_chunk(chunks: AsyncGenerator[bytes, None], deadline: float) -> bytes | None:
    """Return the next chunk; no bytes at the end, and None after the deadline."""
    if deadline == math.inf:
        return await anext(chunks, b"")
    if asyncio.get_running_loop().time() >= deadline:  # also when a chunk is always available
        return None
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(chunks, b"")
    except TimeoutError:  # with uvloop up to a millisecond before the deadline
        return None
