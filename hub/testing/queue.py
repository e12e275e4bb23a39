"""The workers' queue in memory, for one process: a double that passes the same contract suite."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Collection

import msgspec

from hub.core.fair_queue import Admission, FairQueue, Job, QueueLimits
from hub.ports.queue import JobPage, Lease


class MemoryGenerationQueue:
    """Implements ports.GenerationQueue. `abandon` ends a lease as time would."""

    def __init__(self, caps: QueueLimits | None = None) -> None:
        self._tokens = itertools.count(1)
        self._fair_queue = FairQueue(
            caps or QueueLimits(max_user_running=1000, max_user_queued=1000)
        )
        self._ready: deque[Lease] = deque()
        self._leased: dict[str, Lease] = {}
        self._jobs: dict[str, Job] = {}  # by token, until they are over
        self._job_added = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()

    async def enqueue(self, job: Job) -> Admission:
        admission = self._fair_queue.add(job)
        self._dispatch()
        return admission

    async def withdraw(self, job: Job) -> None:
        self._fair_queue.remove(job)

    async def reserve(self, wait_seconds: float) -> Lease | None:
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._ready:
                    self._job_added.clear()
                    await self._job_added.wait()
        except TimeoutError:
            return None
        lease = self._ready.popleft()
        self._leased[lease.token] = lease
        return lease

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        return [lease for lease in leases if self._leased.get(lease.token) != lease]

    async def complete(self, lease: Lease) -> None:
        job = self._let_go(lease)
        if job is not None:
            self._fair_queue.finish(job)
            self._dispatch()

    async def release(self, lease: Lease) -> None:
        job = self._let_go(lease)
        if job is not None:
            self._make_due(job)

    async def list_jobs(self, limit: int) -> JobPage:
        jobs = [*self._jobs.values(), *self._fair_queue.waiting()]
        return JobPage([job.generation for job in jobs[:limit]], len(jobs))

    async def broadcast_stop(self, generation: str) -> None:
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

    def expire_leases(self) -> None:
        """Every lease runs out: what was held can be taken again."""
        self._ready.extend(
            msgspec.structs.replace(lease, deliveries=lease.deliveries + 1)
            for lease in self._leased.values()
        )
        self._leased.clear()
        self._job_added.set()

    def _let_go(self, lease: Lease) -> Job | None:
        """The job, if it is still held under this lease."""
        if self._leased.get(lease.token) != lease:
            return None
        del self._leased[lease.token]
        return self._jobs.pop(lease.token)

    def _dispatch(self) -> None:
        for job in self._fair_queue.pop_ready():
            self._make_due(job)

    def _make_due(self, job: Job) -> None:
        token = str(next(self._tokens))
        self._jobs[token] = job
        self._ready.append(Lease(job.generation, token))
        self._job_added.set()
