"""The queue of generation jobs in memory."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import msgspec

from hub.core.fair_queue import Admission, FairQueue, Job, QueueLimits
from hub.ports.queue import JobPage, JobState, Lease, QueueBacklog, WaitingVersion

_UNLIMITED = QueueLimits(max_user_running=1_000_000, max_user_queued=1_000_000, upstreams={})


class MemoryGenerationQueue:
    """Implements ports.queue.GenerationQueue for the workers of one process.

    limits: None means so many jobs that no test reaches the limit.
    lease_seconds: how long a reserved job belongs to its worker without a renewal; a test may
        also call `expire_leases`.
    """

    def __init__(
        self,
        limits: QueueLimits | None = None,
        *,
        lease_seconds: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._now = now
        self._tokens = itertools.count(1)
        self._fair_queue = FairQueue(limits or _UNLIMITED)
        self._ready: deque[Lease] = deque()
        self._leased: dict[str, tuple[Lease, float]] = {}  # by token: the lease and its expiry
        self._versions: dict[str, str] = {}  # by token: those that may continue the job
        self._jobs: dict[str, Job] = {}  # by token, until the job is complete
        self._unattended_checks: dict[str, int] = {}  # by generation: see job_states
        self._job_added = asyncio.Event()
        self._stop_listeners: set[asyncio.Queue[str]] = set()

    async def enqueue(self, job: Job) -> Admission:
        admission = self._fair_queue.add(job)
        self._dispatch()
        return admission

    async def requeue(self, job: Job) -> None:
        self._fair_queue.add(job, limited=False)
        self._dispatch()

    async def withdraw(self, job: Job, *, is_taken: bool = False) -> None:
        self._fair_queue.remove(job)
        self._unattended_checks.pop(job.generation, None)
        token = self._token_of(job.generation)
        is_held = token in self._leased and self._leased[token][1] > self._now()
        if token is None or (is_held and not is_taken):
            return
        self._leased.pop(token, None)
        self._versions.pop(token, None)
        self._ready = deque(lease for lease in self._ready if lease.token != token)
        self._fair_queue.finish(self._jobs.pop(token))
        self._dispatch()

    async def job_states(self, generations: Sequence[str]) -> list[JobState | None]:
        waiting = {job.generation for job in self._fair_queue.waiting()}
        tokens = {job.generation: token for token, job in self._jobs.items()}  # read only once
        states: list[JobState | None] = []
        for generation in generations:
            token = tokens.get(generation)
            if token is None and generation not in waiting:
                states.append(None)
            elif token in self._leased and self._leased[token][1] > self._now():
                self._unattended_checks.pop(generation, None)
                states.append(JobState(is_attended=True))
            else:
                count = self._unattended_checks.get(generation, 0) + 1
                self._unattended_checks[generation] = count
                states.append(JobState(is_attended=False, unattended_checks=count))
        return states

    async def reserve(self, wait_seconds: float) -> Lease | None:
        deadline = self._now() + wait_seconds
        while not self._ready:
            self._job_added.clear()
            now = self._now()
            next_expiry = min((at for _, at in self._leased.values()), default=float("inf"))
            if next_expiry <= now:
                self._expire(now)
            elif deadline <= now:
                return None
            else:
                try:
                    async with asyncio.timeout(min(next_expiry, deadline) - now):
                        await self._job_added.wait()
                except TimeoutError:
                    pass
        lease = self._ready.popleft()
        self._hold(lease)
        return lease

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        held = [lease for lease in leases if self._is_held(lease)]
        for lease in held:
            self._hold(lease)
        return [lease for lease in leases if lease not in held]

    async def complete(self, lease: Lease) -> None:
        job = self._end_lease(lease)
        if job is not None:
            self._fair_queue.finish(job)
            self._dispatch()

    async def release(self, lease: Lease, *, version: str | None = None) -> None:
        job = self._end_lease(lease)
        if job is None:
            return
        if version is None:
            self._make_ready(job)
        else:
            self._jobs[lease.token] = job  # no worker of this process has a version
            self._versions[lease.token] = version

    async def waiting_versions(self) -> Sequence[WaitingVersion]:
        counts = Counter(
            (self._jobs[token].queue, version) for token, version in self._versions.items()
        )
        return [WaitingVersion(*each, jobs, 0) for each, jobs in sorted(counts.items())]

    async def list_jobs(self, limit: int) -> JobPage:
        jobs = [*self._jobs.values(), *self._fair_queue.waiting()]
        return JobPage([job.generation for job in jobs[:limit]], len(jobs))

    async def backlog(self) -> QueueBacklog:
        unreserved = [lease.generation for lease in self._ready]
        waiting = [job.generation for job in self._fair_queue.waiting()]
        return QueueBacklog(len(unreserved) + len(waiting), [*unreserved[:1], *waiting[:1]])

    async def broadcast_notice(self, generation: str) -> None:
        for listener in self._stop_listeners:
            listener.put_nowait(generation)

    async def notices(self) -> AsyncIterator[str]:
        listener: asyncio.Queue[str] = asyncio.Queue()
        self._stop_listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._stop_listeners.discard(listener)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def take_ready(self, queue: str, count: int) -> list[Lease]:
        """Reserve ready jobs of a queue."""
        ready = [lease for lease in self._ready if self._jobs[lease.token].queue == queue][:count]
        for lease in ready:
            self._ready.remove(lease)
            self._hold(lease)
        return ready

    def take_expired(self, queue: str, count: int) -> list[Lease]:
        """Reserve jobs of a queue again whose lease has expired."""
        expired = [
            lease
            for lease, expires_at in self._leased.values()
            if expires_at <= self._now() and self._jobs[lease.token].queue == queue
        ][:count]
        for lease in expired:
            self._hold(lease)
        return expired

    def give_back(self, generation: str) -> None:
        """Make a reserved job ready again."""
        token = self._token_of(generation)
        if token is not None and token in self._leased:
            self._unattended_checks.pop(generation, None)
            self._make_ready(self._jobs.pop(token))
            del self._leased[token]

    def expire_leases(self) -> None:
        """End every lease, as its time would; the jobs can be reserved again."""
        self._expire(float("inf"))

    def _expire(self, now: float) -> None:
        for token, (lease, expires_at) in tuple(self._leased.items()):
            if expires_at <= now:
                del self._leased[token]
                self._ready.append(msgspec.structs.replace(lease, deliveries=lease.deliveries + 1))
                self._job_added.set()

    def _hold(self, lease: Lease) -> None:
        self._leased[lease.token] = lease, self._now() + self._lease_seconds

    def _token_of(self, generation: str) -> str | None:
        return next((t for t, job in self._jobs.items() if job.generation == generation), None)

    def _is_held(self, lease: Lease) -> bool:
        held = self._leased.get(lease.token)
        return held is not None and held[0] == lease

    def _end_lease(self, lease: Lease) -> Job | None:
        """Return the job, or None when the lease belongs to another worker by now."""
        if not self._is_held(lease):
            return None
        del self._leased[lease.token]
        return self._jobs.pop(lease.token)

    def _dispatch(self) -> None:
        for job in self._fair_queue.pop_ready():
            self._make_ready(job)

    def _make_ready(self, job: Job) -> None:
        token = str(next(self._tokens))
        self._jobs[token] = job
        self._ready.append(Lease(job.generation, job.user, job.upstream, token, topic=job.topic))
        self._job_added.set()
