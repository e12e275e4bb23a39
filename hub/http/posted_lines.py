"""The parts of an external producer as a stream of NDJSON, published while they arrive.

Rules:
1. Everything before a fault is published. The answer comes at the end of the request, or earlier
   when nothing more can be posted: after a stop, a fault, or when the node drains.
2. The hub reads no faster than it publishes; what arrives meanwhile is published together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import StreamReader, web

from hub.api.posted_parts import parse_item
from hub.core.posted_parts import Posted, PostedEnd
from hub.engine.external_producers import ExternalProducers, PostResult
from hub.error_codes import BODY_TOO_LARGE
from hub.errors import BadRequest, CallerError, TooLarge
from hub.ports.clock import Clock

_RENEWALS_PER_LEASE: Final = 4
_READ_BYTES: Final = 64 * 1024  # a compressed body may consist of millions of empty lines


class LineLimits(msgspec.Struct, frozen=True):
    """max_line_bytes: of one part. flush_seconds: the interval between two publishes."""

    max_line_bytes: int
    flush_seconds: float


class PostedLines:
    """One streamed post."""

    def __init__(
        self,
        producers: ExternalProducers,
        clock: Clock,
        limits: LineLimits,
        generation: str,
        lease: str,
    ) -> None:
        self._producers = producers
        self._clock = clock
        self._limits = limits
        self._generation = generation
        self._lease = lease
        self._rest = b""  # of the line whose end has not arrived yet
        self._renewed_at = 0.0

    async def publish(self, content: StreamReader) -> PostResult:
        """Publish the lines until the body ends. Raise what ExternalProducers.post raises."""
        result = await self._post([])
        while not result.is_over:
            data = await self._read(content, result.lease_seconds)
            if data is None:
                return await self._post([])
            if not data:
                return await self._publish_lines([self._rest], result)
            started_at = self._clock.now()
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > self._limits.max_line_bytes:
                lines.append(self._rest)  # too long: a fault after the whole lines
            result = await self._publish_lines(lines, result)
            delay = started_at + self._limits.flush_seconds - self._clock.now()
            if not result.is_over:  # lines without parts must not keep other requests waiting
                await self._clock.sleep(max(0.0, delay))
        return result

    async def _read(self, content: StreamReader, seconds: float) -> bytes | None:
        """Return what has arrived, no bytes at the end; None when the node drains or no byte came.

        Raise BadRequest.
        """
        try:
            async with self._producers.draining.timeout(seconds):
                return await content.read(_READ_BYTES)
        except TimeoutError:
            return None
        except web.RequestPayloadError as error:
            raise BadRequest(
                "the body is not what its Content-Encoding or Transfer-Encoding says"
            ) from error

    async def _publish_lines(self, lines: Sequence[bytes], result: PostResult) -> PostResult:
        posted: list[Posted] = []
        fault: CallerError | None = None
        try:
            for line in lines:
                if line.strip() or len(line) > self._limits.max_line_bytes:
                    posted.append(self._parse(line, posted))
        except CallerError as error:
            fault = error
        renewal_seconds = result.lease_seconds / _RENEWALS_PER_LEASE
        if posted or fault or self._clock.now() - self._renewed_at > renewal_seconds:
            result = await self._post(posted)
        if fault is not None and result.stop is None:
            raise fault
        return result

    def _parse(self, line: bytes, before: Sequence[Posted]) -> Posted:
        if before and isinstance(before[-1], PostedEnd):
            raise BadRequest("nothing follows the end")
        if len(line) > self._limits.max_line_bytes:
            raise TooLarge(
                f"a line may have at most {self._limits.max_line_bytes} bytes", code=BODY_TOO_LARGE
            )
        return parse_item(line)

    async def _post(self, posted: Sequence[Posted]) -> PostResult:
        self._renewed_at = self._clock.now()
        return await self._producers.post(self._generation, self._lease, posted, whole=False)
