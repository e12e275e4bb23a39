"""The parts of an external producer as a stream, published while they arrive.

Rules:
1. Everything before a fault is published. The stream ends with its source, or earlier when nothing
   more can be posted: after a stop, a fault, or when the node drains.
2. The hub reads no faster than it publishes; what arrives meanwhile is published together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from hub.api.posted_parts import is_last, parse_item
from hub.core.posted_parts import Posted
from hub.engine.external.external_producers import ExternalProducers, PostResult
from hub.error_codes import BODY_TOO_LARGE
from hub.errors import BadRequest, CallerError, TooLarge
from hub.ports.clock import Clock

_RENEWALS_PER_LEASE: Final = 4


class PartSource(Protocol):
    """Where the parts of a streamed post arrive.

    renews_always: whether a batch without parts renews the lease, and gets an answer. Otherwise it
    does so when a quarter of the lease has passed.
    """

    @property
    def renews_always(self) -> bool: ...

    async def read(self) -> Sequence[bytes] | None:
        """Return the JSON of the parts that have arrived, None at the end.

        A cancelled call loses nothing. Raise BadRequest when the stream is malformed.
        """
        ...


class StreamedPostLimits(msgspec.Struct, frozen=True):
    """max_part_bytes: of the JSON of a part. flush_seconds: the interval between two publishes."""

    max_part_bytes: int
    flush_seconds: float


async def _ignore(result: PostResult) -> None:
    pass


class StreamedPost:
    """One streamed post."""

    def __init__(
        self,
        producers: ExternalProducers,
        clock: Clock,
        limits: StreamedPostLimits,
        generation: str,
        lease: str,
    ) -> None:
        self._producers = producers
        self._clock = clock
        self._limits = limits
        self._generation = generation
        self._lease = lease
        self._renewed_at = 0.0

    async def publish(
        self, source: PartSource, on_result: Callable[[PostResult], Awaitable[None]] = _ignore
    ) -> PostResult:
        """Publish the parts until the source ends, and return the last result.

        on_result: gets the result of each publish, the first one before any part. Raise what
        ExternalProducers.post raises.
        """
        result = await self._post([])
        await on_result(result)
        # Of an answer that has ended before, the first parts are posted, to be refused if they are
        # new: they would be lost without a word.
        goes_on = result.stop is None
        while goes_on:
            try:
                items = await self._read(source, result.lease_seconds)
            except TimeoutError:
                result = await self._post([])
                await on_result(result)
                break
            if items is None:
                break
            started_at = self._clock.now()
            posted, fault = self._parse_all(items)
            if posted or fault or self._is_renewal_due(source, result.lease_seconds):
                result = await self._post(posted)
                await on_result(result)
            if fault is not None and result.stop is None:
                raise fault
            goes_on = not result.is_over
            if goes_on:  # a source without parts must not keep other requests waiting
                delay = started_at + self._limits.flush_seconds - self._clock.now()
                await self._clock.sleep(max(0.0, delay))
        return result

    async def _read(self, source: PartSource, seconds: float) -> Sequence[bytes] | None:
        """Read from the source. Raise TimeoutError when nothing has come or the node drains."""
        async with self._producers.draining.timeout(seconds):
            return await source.read()

    def _is_renewal_due(self, source: PartSource, lease_seconds: float) -> bool:
        age_seconds = self._clock.now() - self._renewed_at
        return source.renews_always or age_seconds > lease_seconds / _RENEWALS_PER_LEASE

    def _parse_all(self, items: Sequence[bytes]) -> tuple[list[Posted], CallerError | None]:
        """Return the parts before a fault, and the fault."""
        posted: list[Posted] = []
        try:
            for item in items:
                posted.append(self._parse(item, posted))
        except CallerError as fault:
            return posted, fault
        return posted, None

    def _parse(self, item: bytes, before: Sequence[Posted]) -> Posted:
        if before and is_last(before[-1]):
            raise BadRequest("nothing follows the end")
        if len(item) > self._limits.max_part_bytes:
            raise TooLarge(
                f"a part may have at most {self._limits.max_part_bytes} bytes of JSON",
                code=BODY_TOO_LARGE,
            )
        return parse_item(item)

    async def _post(self, posted: Sequence[Posted]) -> PostResult:
        self._renewed_at = self._clock.now()
        return await self._producers.post(self._generation, self._lease, posted, whole=False)
