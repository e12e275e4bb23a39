"""The workers' queue in memory, for one process: a double that passes the same contract suite."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Collection

import msgspec

from hub.core.job import Admission, Job, JobCaps, Line
from hub.ports import Lease, Listed


class MemoryGenerationQueue:
    """Implements ports.GenerationQueue. `abandon` ends a lease as time would."""

    def __init__(self, caps: JobCaps | None = None) -> None:
        self._tokens = itertools.count(1)
        self._line = Line(caps or JobCaps(user_running=1000, user_queued=1000))
        self._due: deque[Lease] = deque()
        self._held: dict[str, Lease] = {}
        self._jobs: dict[str, Job] = {}  # by token, until they are over
        self._came = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()

    async def put(self, job: Job) -> Admission:
        admission = self._line.put(job)
        self._dispatch()
        return admission

    async def withdraw(self, job: Job) -> None:
        self._line.withdraw(job)

    async def take(self, wait_seconds: float) -> Lease | None:
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._due:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return None
        lease = self._due.popleft()
        self._held[lease.token] = lease
        return lease

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        return [lease for lease in leases if self._held.get(lease.token) != lease]

    async def settle(self, lease: Lease) -> None:
        job = self._let_go(lease)
        if job is not None:
            self._line.over(job)
            self._dispatch()

    async def release(self, lease: Lease) -> None:
        job = self._let_go(lease)
        if job is not None:
            self._make_due(job)

    async def listed(self, limit: int) -> Listed:
        jobs = [*self._jobs.values(), *self._line.waiting()]
        return Listed([job.generation for job in jobs[:limit]], len(jobs))

    async def announce_stop(self, generation: str) -> None:
        for listener in self._listeners:
            listener.put_nowait(generation)

    async def stops(self) -> AsyncIterator[str]:
        notices: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(notices)
        try:
            while True:
                yield await notices.get()
        finally:
            self._listeners.discard(notices)

    def abandon(self) -> None:
        """Every lease runs out: what was held can be taken again."""
        self._due.extend(
            msgspec.structs.replace(lease, deliveries=lease.deliveries + 1)
            for lease in self._held.values()
        )
        self._held.clear()
        self._came.set()

    def _let_go(self, lease: Lease) -> Job | None:
        """The job, if it is still held under this lease."""
        if self._held.get(lease.token) != lease:
            return None
        del self._held[lease.token]
        return self._jobs.pop(lease.token)

    def _dispatch(self) -> None:
        for job in self._line.due():
            self._make_due(job)

    def _make_due(self, job: Job) -> None:
        token = str(next(self._tokens))
        self._jobs[token] = job
        self._due.append(Lease(job.generation, token))
        self._came.set()
