"""The queue of generation jobs."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Collection,
    Sequence,
)
from typing import NamedTuple, Protocol

import msgspec

from hub.core.channel import Channel, channel_for
from hub.core.fair_queue import Admission, Job


class Lease(msgspec.Struct, frozen=True):
    """A reserved job.

    user, upstream, topic: those of the job, so that a worker can end a generation whose record is
    lost. token: identifies this reservation. stream: where the backend keeps the job.
    deliveries: how often the job has been reserved, this time included.
    """

    generation: str
    user: str
    upstream: str
    token: str
    stream: str = ""
    deliveries: int = 1
    topic: str | None = None

    @property
    def channel(self) -> Channel:
        """The channel that has the events of the generation."""
        return channel_for(self.user, self.topic)


class JobState(NamedTuple):
    """The state of a job that is not complete.

    is_attended: whether a worker holds its lease. unattended_checks: in how many calls of
    `job_states` in a row no worker held it, this one included.
    """

    is_attended: bool
    unattended_checks: int = 0


class JobPage(NamedTuple):
    """Some jobs that are not complete, running ones before waiting ones, and their total number."""

    generations: Sequence[str]
    total: int


class QueueBacklog(NamedTuple):
    """The jobs that no worker has reserved.

    total: their number. first: those that workers get next, one of the waiting jobs and one of each
    queue of due jobs; empty if `total` is 0.
    """

    total: int
    first: Sequence[str]


class WaitingVersion(NamedTuple):
    """Jobs of a queue that only workers of a version may continue.

    version: empty for workers without one. jobs: also those that run. workers: how many workers of
    the version read the queue; None if the backend does not tell.
    """

    queue: str
    version: str
    jobs: int
    workers: int | None


class GenerationQueue(Protocol):
    """The jobs of the workers. Every method is atomic and raises BrokerUnavailable.

    Adding, completing and releasing a job includes the check of the limits and making other jobs
    due (core/fair_queue.py).
    """

    async def enqueue(self, job: Job) -> Admission:
        """Add a job. Workers get it at least once, in the order of core/fair_queue.py.

        A job that waits or runs already is not added again.
        """
        ...

    async def requeue(self, job: Job) -> None:
        """Add a job that was accepted before, without a check of the limits of waiting jobs."""
        ...

    async def withdraw(self, job: Job, *, is_taken: bool = False) -> None:
        """Remove a job, unless a worker holds it: that worker finds the generation ended.

        is_taken: whether an external producer may have claimed the job; it is removed anyway.
        """
        ...

    async def job_states(self, generations: Sequence[str]) -> Sequence[JobState | None]:
        """Return the state of each generation's job; None when it has no job.

        Each call counts as one check. A number of checks, unlike a time, stays right when the
        backend fails over to a server with another clock.
        """
        ...

    async def reserve(self, wait_seconds: float) -> Lease | None:
        """Return the next job, or one whose lease has expired; None after `wait_seconds`.

        A call that is cancelled holds no job: another worker gets it at once.
        """
        ...

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Renew leases. Return those that have been lost to another worker."""
        ...

    async def complete(self, lease: Lease) -> None:
        """Complete a job, so that waiting ones become due. Do nothing when the lease is lost."""
        ...

    async def release(self, lease: Lease, *, version: str | None = None) -> None:
        """Give a job back to the other workers at once. Do nothing when the lease is lost.

        version: only workers of this version get it, those of `versioned_queue`. None: all workers
        that could get it before.
        """
        ...

    async def waiting_versions(self) -> Sequence[WaitingVersion]:
        """Return the versions for which jobs wait that only they may continue."""
        ...

    async def list_jobs(self, limit: int) -> JobPage:
        """Return at most `limit` jobs of the queues that this process uses."""
        ...

    async def backlog(self) -> QueueBacklog:
        """Return the jobs of the queues that this process uses which no worker has reserved."""
        ...

    async def broadcast_notice(self, generation: str) -> None:
        """Notify every worker that listens now: the record has a stop request, a new input or a new
        message.
        """
        ...

    def notices(self) -> AsyncIterator[str]:
        """Yield the generations whose records to look at, until the iterator is closed."""
        ...

    async def run(self) -> None:
        """Hold the connections on which jobs and notices arrive, until cancelled.

        A process that only enqueues, withdraws or lists jobs does not need this task.
        """
        ...
