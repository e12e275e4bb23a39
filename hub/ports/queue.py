"""The queue of generation jobs."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Collection,
    Sequence,
)
from typing import NamedTuple, Protocol

import msgspec

from hub.core.fair_queue import Admission, Job


class Lease(msgspec.Struct, frozen=True):
    """A job taken: the generation, the token that names this taking, in which stream of jobs, and
    how often the job was taken so far.
    """

    generation: str
    token: str
    stream: str = ""
    deliveries: int = 1


class JobPage(NamedTuple):
    """Some of the jobs that are not over, those that run before those that wait; and how many."""

    generations: Sequence[str]
    total: int


class GenerationQueue(Protocol):
    """The jobs of the workers. Raises BrokerUnavailable."""

    async def enqueue(self, job: Job) -> Admission:
        """Some worker will take it, at least once, when its turn has come (core/fair_queue.py)."""
        ...

    async def withdraw(self, job: Job) -> None:
        """It need not be taken any more; a worker that takes it all the same finds it ended."""
        ...

    async def reserve(self, wait_seconds: float) -> Lease | None:
        """The next job, or one whose worker let its lease run out; None after `wait_seconds`."""
        ...

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """The worker is still at them. Returns those that are another's by now."""
        ...

    async def complete(self, lease: Lease) -> None:
        """The job is over, and makes room for those that wait; nothing, when it is another's."""
        ...

    async def release(self, lease: Lease) -> None:
        """The job is not over; another worker should take it at once."""
        ...

    async def list_jobs(self, limit: int) -> JobPage:
        """The jobs of the queues that this end knows."""
        ...

    async def broadcast_stop(self, generation: str) -> None:
        """Tells every worker that listens now; the durable wish is in the record."""
        ...

    def stops(self) -> AsyncIterator[str]:
        """The generations whose stop is announced, until the iterator is closed."""
        ...

    async def run(self) -> None:
        """Hold the connections on which jobs and stop requests arrive, until cancelled.

        A process that only enqueues, withdraws or lists jobs does not need this task.
        """
        ...
