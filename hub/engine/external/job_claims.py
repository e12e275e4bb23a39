"""External producers claim users' questions to upstreams of the kind `queue`.

    in its queue ─> taken by a node ─> attempt with a lease ─> the answer ends: removed
                      └─ the node dies, the lease is lost or returned: can be taken again

Rules:
1. A job stays in its queue until its answer has ended. The lease in the record decides who has it:
   a job that is taken while its lease holds is left alone. So a crash between the steps neither
   loses a job nor starts it twice.
2. The leases of a claim with an id are remembered before the attempts begin. So the same claim,
   repeated through any node, gets the same jobs while these leases hold. A lease that has ended
   never begins another attempt: its producer may still post.
3. Of the claims that wait for a queue on a node, one asks for jobs at a time, in their order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Self
from weakref import WeakValueDictionary

import msgspec

from hub.core.external_producer import lease_digest, new_lease
from hub.core.generation import Generation
from hub.core.journal_entries import read_durable_state
from hub.engine.external.external_producers import ExternalProducers, StartedAttempt
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.error_codes import TOO_MANY_CLAIMS
from hub.errors import Conflict, TooManyRequests
from hub.ports.claims import ClaimedJob, JobClaims
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore

MAX_JOBS: Final = 32
MAX_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_CHECKED_AT_ONCE: Final = 100


class ClaimLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_waiting, max_waiting_per_key: claims that wait on this node, of all keys and of each.
    check_seconds: how often the node looks for jobs that nobody attends to.
    """

    max_waiting: int
    max_waiting_per_key: int
    check_seconds: float


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim. key: the name of its API key. id: None without one. is_connected: whether the
    producer is still there.
    """

    key: str
    queue: str
    max_jobs: int
    wait_seconds: float
    lease_seconds: float
    id: str | None = None
    is_connected: Callable[[], bool] = lambda: True


class _Lease(msgspec.Struct, frozen=True, array_like=True):
    """A lease of a remembered claim, and its job."""

    generation: str
    lease: str
    user: str = ""
    upstream: str = ""
    topic: str | None = None

    @classmethod
    def of(cls, job: ClaimedJob) -> Self:
        """Return a new lease."""
        return cls(job.generation, new_lease(), job.user, job.upstream, job.topic)

    @property
    def job(self) -> ClaimedJob:
        return ClaimedJob(self.generation, self.user, self.upstream, self.topic)


_decode_leases: Final = msgspec.json.Decoder(list[_Lease]).decode


class Claims:
    """Gives jobs to external producers.

    upstreams: the queue of each upstream of the kind `queue`, by its name.
    """

    def __init__(
        self,
        claims: JobClaims,
        store: GenerationStore,
        jobs: GenerationJobs,
        producers: ExternalProducers,
        clock: Clock,
        *,
        upstreams: Mapping[str, str],
        retries: Mapping[str, int],
        limits: ClaimLimits,
    ) -> None:
        self._claims = claims
        self._store = store
        self._jobs = jobs
        self._producers = producers
        self._clock = clock
        self._upstreams = upstreams
        self._retries = retries
        self._limits = limits
        self._waiting: Counter[str] = Counter()  # claims by API key
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def queues(self) -> Collection[str]:
        """The names of the queues from which producers can claim jobs."""
        return sorted(set(self._upstreams.values()))

    async def claim(self, claim: Claim) -> Sequence[StartedAttempt]:
        """Return jobs, whose attempts have begun; none if there are none in time.

        Raise TooManyRequests, BrokerUnavailable.
        """
        self._check_waiting(claim.key)
        self._waiting[claim.key] += 1
        try:
            if claim.id is None:
                return await self._begin_all(claim, await self._take(claim))
            name = f"{claim.key}/{claim.queue}/{claim.id}"
            async with self._lock(f"claim {name}"):
                return await self._claim_once(claim, name)
        finally:
            self._waiting[claim.key] -= 1

    async def _claim_once(self, claim: Claim, name: str) -> Sequence[StartedAttempt]:
        """Return the jobs of the same claim before, or new ones."""
        before = await self._claims.recall(name)
        if before is not None:
            held = await self._begin_all(claim, _decode_leases(before), is_recalled=True)
            if held:
                return held
        leases = await self._take(claim)
        if not leases:
            return []
        remembered = await self._claims.remember(name, before, msgspec.json.encode(leases))
        known = _decode_leases(remembered)
        is_recalled = known != leases  # the same claim has got other jobs through another node
        if is_recalled:
            for each in leases:
                await self._claims.give_back(each.generation)
        return await self._begin_all(claim, known, is_recalled=is_recalled)

    async def _take(self, claim: Claim) -> list[_Lease]:
        """Take jobs from the queue, and return new leases for them."""
        draining, deadline = self._producers.draining, self._clock.now() + claim.wait_seconds
        taken = await self._claims.take(claim.queue, claim.max_jobs)
        lock = self._lock(f"queue {claim.queue}")
        try:
            if not taken and claim.wait_seconds:
                async with draining.timeout(claim.wait_seconds):
                    await lock.acquire()
                try:
                    taken = await self._poll(claim, deadline)
                finally:
                    lock.release()
        except TimeoutError:
            pass
        if taken and not claim.is_connected():
            for job in taken:
                await self._claims.give_back(job.generation)
            return []
        return [_Lease.of(job) for job in taken]

    async def _poll(self, claim: Claim, deadline: float) -> Sequence[ClaimedJob]:
        # A time-out must not interrupt a call that takes jobs, so each wait has one of its own.
        while claim.is_connected():
            if taken := await self._claims.take(claim.queue, claim.max_jobs):
                return taken
            seconds = min(_POLL_SECONDS, deadline - self._clock.now())
            if seconds <= 0 or self._producers.draining.is_set:
                break
            await self._clock.sleep(seconds)
        return ()

    async def _begin_all(
        self, claim: Claim, leases: Sequence[_Lease], *, is_recalled: bool = False
    ) -> list[StartedAttempt]:
        started = []
        for each in leases:
            attempt = await self._begin(each, claim.lease_seconds, is_recalled=is_recalled)
            if attempt is not None:
                started.append(attempt)
        return started

    async def _begin(
        self, each: _Lease, lease_seconds: float, *, is_recalled: bool
    ) -> StartedAttempt | None:
        """Begin the attempt of a job, or return it if it has begun; None if it cannot begin.

        is_recalled: whether the lease is that of an earlier call. It then begins no attempt but the
        first one, because it may have ended since.
        """
        record = await self._store.find(each.generation)
        if record is None or record.status.ended:
            await self._drop(each.job, record)
            return None
        external = record.external
        if external is not None and (external.is_held or is_recalled):
            return _held_attempt(record, each)
        if record.losses > self._retries.get(record.request.upstream, 0):
            await self._jobs.end_lost(record)
            return None
        try:
            return await self._producers.begin(
                each.generation, each.lease, lease_seconds, after=record.attempt
            )
        except Conflict:  # it has ended meanwhile, or another call has begun the attempt
            newest = await self._store.find(each.generation)
            return None if newest is None else _held_attempt(newest, each)

    async def _drop(self, job: ClaimedJob, record: Generation | None) -> None:
        """Remove the job of an answer that has ended. One whose record is lost fails."""
        if record is not None:
            await self._jobs.remove_job(record)
        else:
            await self._jobs.end_without_record(job)

    async def run_checks(self) -> None:
        """Look after jobs that were taken and that no lease holds, until cancelled.

        Raise BrokerUnavailable.
        """
        while True:
            await self._clock.sleep(self._limits.check_seconds)
            await self.check()

    async def check(self) -> None:
        """Let jobs be taken again whose node died before their attempt began; remove those whose
        answer has ended. Raise BrokerUnavailable.
        """
        for queue in self.queues:
            for job in await self._claims.unattended(queue, _CHECKED_AT_ONCE):
                record = await self._store.find(job.generation)
                if record is None or record.status.ended:
                    await self._drop(job, record)
                elif record.external is None or not record.external.lease_seconds:
                    await self._claims.give_back(job.generation)

    def _check_waiting(self, key: str) -> None:
        limits = self._limits
        if (
            self._waiting[key] >= limits.max_waiting_per_key
            or self._waiting.total() >= limits.max_waiting
        ):
            raise TooManyRequests(
                "too many claims wait on this node; claim more jobs at a time, or wait longer",
                code=TOO_MANY_CLAIMS,
                limit="claims",
                retry_after_seconds=1,
            )

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


def _held_attempt(record: Generation, each: _Lease) -> StartedAttempt | None:
    """Return the attempt that a lease holds, None if it does not."""
    external = record.external
    if external is None or not external.is_held or record.writer != lease_digest(each.lease):
        return None
    state = read_durable_state(record.journal)
    return StartedAttempt(record, record.attempt, each.lease, external.lease_seconds, state=state)
