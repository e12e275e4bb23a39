"""The jobs that external producers claim, in memory."""

from __future__ import annotations

from hub.ports.claims import ClaimedJob
from hub.ports.queue import Lease
from hub.testing.queue import MemoryGenerationQueue


class MemoryJobClaims:
    """Implements ports.claims.JobClaims over the jobs of a queue in memory."""

    def __init__(self, queue: MemoryGenerationQueue) -> None:
        self._queue = queue
        self._claims: dict[str, bytes] = {}

    async def take(self, queue: str, count: int) -> list[ClaimedJob]:
        leases = self._queue.take_ready(queue, count)
        return [
            ClaimedJob(each.generation, each.user, each.upstream, each.topic) for each in leases
        ]

    async def unattended(self, queue: str, count: int) -> list[ClaimedJob]:
        leases = self._queue.take_expired(queue, count)
        return [
            ClaimedJob(each.generation, each.user, each.upstream, each.topic) for each in leases
        ]

    async def give_back(self, generation: str) -> None:
        self._queue.give_back(generation)

    async def recall(self, claim: str) -> bytes | None:
        return self._claims.get(claim)

    async def remember(self, claim: str, before: bytes | None, value: bytes) -> bytes:
        if self._claims.get(claim) != before:
            return self._claims[claim]
        self._claims[claim] = value
        return value


def _to_job(lease: Lease) -> ClaimedJob:
    return ClaimedJob(lease.generation, lease.user, lease.upstream, lease.topic)
