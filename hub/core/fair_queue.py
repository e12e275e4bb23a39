"""The order of generation jobs: limits per user and per upstream, and no user is starved.

A job waits until its user and its upstream have capacity, and then becomes ready: workers take
ready jobs in that order. Waiting jobs are ordered by start-time fair queuing (Goyal, Vin and Cheng,
1996): the start tag of a user's next job follows that user's last tag, or the queue's virtual time
if that is later. So a user with a thousand jobs waits for them, and other users do not.

Rules, which backends/redis/lua/fair_queue.lua implements in Redis:
1. A job counts as waiting until it is ready, and as running from then until it is finished.
2. A job without capacity is skipped and keeps its start tag.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

DEFAULT_QUEUE: Final = "default"


def versioned_queue(queue: str, version: str) -> str:
    """Return the queue of the jobs of `queue` that only workers of one version continue."""
    return f"{queue}@{version}"


class Job(msgspec.Struct, frozen=True):
    """A generation for a worker.

    queue: the name of the queue; each worker serves some queues. topic: that of the request.
    """

    generation: str
    user: str
    upstream: str
    queue: str = DEFAULT_QUEUE
    topic: str | None = None


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one upstream, for all users together. None means no limit.

    max_running: jobs that run. max_queued: jobs that wait in addition to those.
    """

    max_running: int | None
    max_queued: int | None


_NO_LIMITS: Final = UpstreamLimits(max_running=None, max_queued=None)


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of each user, and those of the upstreams that have any, by name."""

    max_user_running: int
    max_user_queued: int
    upstreams: Mapping[str, UpstreamLimits]

    def for_upstream(self, name: str) -> UpstreamLimits:
        """Return the limits of an upstream."""
        return self.upstreams.get(name, _NO_LIMITS)


class Admission(enum.Enum):
    """Whether a job was queued, and which limit refused it if not. The values stand in Redis."""

    ACCEPTED = "taken"
    USER_FULL = "user"
    UPSTREAM_FULL = "upstream"


class FairQueue:
    """The waiting jobs, in memory. Time is the virtual time of the algorithm, not a clock."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._waiting: list[tuple[int, Job]] = []  # ordered by start tag
        self._queued: Counter[str] = Counter()  # waiting jobs by user
        self._running: Counter[str] = Counter()  # running jobs by user
        self._upstream_queued: Counter[str] = Counter()
        self._upstream_running: Counter[str] = Counter()
        self._virtual_time = 0  # the start tag of the job that became ready last
        self._last_tags: dict[str, int] = {}  # of users with waiting jobs
        self._known: set[str] = set()  # generations that wait or run

    def add(self, job: Job, *, limited: bool = True) -> Admission:
        """Queue a job, unless a limit is reached. A job that is already known is accepted.

        limited: False ignores the limits of waiting jobs.
        """
        if job.generation in self._known:
            return Admission.ACCEPTED
        limits = self._limits.for_upstream(job.upstream)
        if limited and self._queued[job.user] >= self._limits.max_user_queued:
            return Admission.USER_FULL
        count = self._upstream_queued[job.upstream] + self._upstream_running[job.upstream]
        max_queued = limits.max_queued if limited else None
        if max_queued is not None and count >= (limits.max_running or 0) + max_queued:
            return Admission.UPSTREAM_FULL
        tag = max(self._virtual_time, self._last_tags.get(job.user, 0)) + 1
        self._last_tags[job.user] = tag
        self._known.add(job.generation)
        self._waiting.append((tag, job))
        self._waiting.sort(key=lambda waiting: waiting[0])
        self._count_waiting(job, 1)
        return Admission.ACCEPTED

    def remove(self, job: Job) -> None:
        """Remove a waiting job; a job that does not wait is ignored."""
        for waiting in self._waiting:
            if waiting[1] == job:
                self._waiting.remove(waiting)
                self._known.discard(job.generation)
                self._count_waiting(job, -1)
                return

    def pop_ready(self) -> list[Job]:
        """Remove and return the jobs that have capacity now, in order. They count as running."""
        ready = []
        for waiting in tuple(self._waiting):
            tag, job = waiting
            max_running = self._limits.for_upstream(job.upstream).max_running
            if self._running[job.user] >= self._limits.max_user_running:
                continue
            if max_running is not None and self._upstream_running[job.upstream] >= max_running:
                continue
            self._waiting.remove(waiting)
            self._count_waiting(job, -1)
            self._running[job.user] += 1
            self._upstream_running[job.upstream] += 1
            self._virtual_time = tag
            ready.append(job)
        return ready

    def waiting(self) -> list[Job]:
        """Return the waiting jobs in order."""
        return [job for _, job in self._waiting]

    def finish(self, job: Job) -> None:
        """Free the capacity of a running job."""
        self._known.discard(job.generation)
        self._running[job.user] -= 1
        self._upstream_running[job.upstream] -= 1

    def _count_waiting(self, job: Job, change: int) -> None:
        self._queued[job.user] += change
        self._upstream_queued[job.upstream] += change
        if not self._queued[job.user]:
            self._last_tags.pop(job.user, None)
