"""The jobs that external producers claim, in Redis: due jobs of the queues of queue.py.

A taken job is in the pending list of the consumer group, as that of a worker is. No worker reads
these queues.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.keys import (
    JOBS_COUNTS,
    JOBS_GROUP,
    JOBS_PARTITION,
    JOBS_WAITING,
    claim_key,
    jobs_stream,
)
from hub.ports.claims import ClaimedJob

_PACKAGE: Final = "hub.backends.redis"
_TAKE: Final = Script(_PACKAGE, "take_jobs", needs_memory=False)
_UNATTENDED: Final = Script(_PACKAGE, "unattended_jobs", needs_memory=False)
_GIVE_BACK: Final = Script(
    _PACKAGE, "fair_queue", "give_back_job", needs_memory=False, is_repeatable=True
)
_REMEMBER: Final = Script(_PACKAGE, "remember_claim", is_repeatable=True)
_CLAIM_TTL_MS: Final = 3_600_000


class RedisJobClaims:
    """Implements ports.claims.JobClaims. lease_seconds: the length of a worker's lease."""

    def __init__(self, client: RedisClient, *, lease_seconds: float) -> None:
        self._client = client
        self._lease_ms = round(lease_seconds * 1000)
        self._consumer = f"n{secrets.token_hex(6)}"

    async def take(self, queue: str, count: int) -> list[ClaimedJob]:
        arguments = (JOBS_GROUP, self._consumer, count)
        return _parse(await self._run(_TAKE, (jobs_stream(queue),), *arguments))

    async def unattended(self, queue: str, count: int) -> list[ClaimedJob]:
        arguments = (JOBS_GROUP, self._consumer, count, self._lease_ms)
        return _parse(await self._run(_UNATTENDED, (jobs_stream(queue),), *arguments))

    async def give_back(self, generation: str) -> None:
        await self._run(_GIVE_BACK, (JOBS_WAITING, JOBS_COUNTS), JOBS_GROUP, generation)

    async def recall(self, claim: str) -> bytes | None:
        value: bytes | None = await self._client.call_key(
            JOBS_PARTITION, "GET", claim_key(_digest(claim))
        )
        return value

    async def remember(self, claim: str, before: bytes | None, value: bytes) -> bytes:
        arguments = (before or b"", value, _CLAIM_TTL_MS)
        reply: bytes = await self._run(_REMEMBER, (claim_key(_digest(claim)),), *arguments)
        return reply

    async def _run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        (reply,) = await self._client.run([ScriptCall(script, JOBS_PARTITION, keys, arguments)])
        return reply


def _digest(claim: str) -> str:
    """Return the part of a key that stands for a claim, which has the id of the caller."""
    return hashlib.sha256(claim.encode("utf-8", "surrogateescape")).hexdigest()


def _parse(reply: Sequence[Sequence[bytes]]) -> list[ClaimedJob]:
    jobs = []
    for fields in reply:
        values = [field.decode() for field in fields]
        job = dict(zip(values[::2], values[1::2], strict=True))  # fair_queue.lua
        topic = job.get("topic") or None
        jobs.append(ClaimedJob(job["generation"], job["user"], job["upstream"], topic))
    return jobs
