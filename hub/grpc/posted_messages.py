"""The messages of a call of PostParts, as a source of parts.

Rules:
1. What arrives while the hub publishes waits here and is published together. Above a limit no
   further message is read, so that the flow control of HTTP/2 holds up the producer.
2. Parts before a faulty message are read before the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from hub.errors import BadRequest, CallerError
from hub.grpc import hub_pb2 as pb
from hub.grpc.request_context import require_field

_MAX_WAITING_BYTES: Final = 64 * 1024
_OVERHEAD_BYTES: Final = 64  # of a part in memory, so that empty ones are limited as well


class MessageSource:
    """Implements PartSource. first: the first message, which names the attempt."""

    renews_always: Final = True

    def __init__(self, first: pb.PostPartsRequest) -> None:
        self.generation = require_field(first.generation, "generation")
        self.lease = require_field(first.lease, "lease")
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._has_message = False  # one without parts counts as well
        self._fault: CallerError | None = None
        self._ended = False
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        if first.parts:
            self._add(first)

    async def fill(self, messages: AsyncIterator[pb.PostPartsRequest]) -> None:
        """Take the further messages until they end or one is faulty."""
        try:
            async for message in messages:
                self._check(message)
                while self._waiting_bytes > _MAX_WAITING_BYTES:
                    self._taken.clear()
                    await self._taken.wait()
                self._add(message)
        except CallerError as fault:
            self._fault = fault
        finally:
            self.close()

    def close(self) -> None:
        """End the source: what waits is still read, and nothing else."""
        self._ended = True
        self._arrived.set()

    async def read(self) -> Sequence[bytes] | None:
        await self._arrived.wait()
        if self._has_message:
            parts, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._has_message = False
            self._taken.set()
            if not self._ended:
                self._arrived.clear()
            return parts
        if self._fault is not None:
            raise self._fault
        return None

    def _add(self, message: pb.PostPartsRequest) -> None:
        for part in message.parts:
            encoded = part.encode()
            self._waiting.append(encoded)
            self._waiting_bytes += len(encoded) + _OVERHEAD_BYTES
        self._has_message = True
        self._arrived.set()

    def _check(self, message: pb.PostPartsRequest) -> None:
        for field, given, first in (
            ("generation", message.generation, self.generation),
            ("lease", message.lease, self.lease),
        ):
            if given not in ("", first):
                raise BadRequest(
                    f"{field} is that of the first message, or empty; a call posts to one attempt",
                    path=field,
                )
