"""Whose turn it is: jobs of many users at many upstreams, with caps, none starved.

A job waits until its user and its upstream have room, and is then *due*: workers take due jobs as
they come. Among those that wait the order is by turns: each user's next job gets the turn after
that user's last one, or after the one that became due last. So a user with a thousand questions
waits for them, and nobody else does (start-time fair queuing, Goyal, Vin and Cheng, 1996).

Rules, which queues/lua/jobs.lua keeps in Redis:
1. A job is counted as waiting until it is due, and as running from then until it is over.
2. What has no room is passed over, and keeps its turn.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping

import msgspec


class Job(msgspec.Struct, frozen=True):
    """A generation that a worker shall run. queue: whose workers."""

    generation: str
    user: str
    upstream: str
    queue: str = "default"


class UpstreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """running: questions at once. queued: those beyond them. None: no cap."""

    max_running: int | None = None
    max_queued: int | None = None


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Of each user, and of the upstreams that have any."""

    max_user_running: int = 4
    max_user_queued: int = 20
    upstreams: Mapping[str, UpstreamLimits] = {}

    def of(self, upstream: str) -> UpstreamLimits:
        """The upstream's."""
        return self.upstreams.get(upstream, UpstreamLimits())


class Admission(enum.Enum):
    """What became of a job that was put."""

    ACCEPTED = "taken"
    USER_FULL = "user"
    UPSTREAM_FULL = "upstream"


class FairQueue:
    """The jobs that wait, in memory."""

    def __init__(self, caps: QueueLimits) -> None:
        self._caps = caps
        self._waiting: list[tuple[int, Job]] = []  # by turn
        self._queued: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._upstream_queued: Counter[str] = Counter()
        self._upstream_running: Counter[str] = Counter()
        self._turn = 0
        self._last_turns: dict[str, int] = {}
        self._known: set[str] = set()  # generations that wait or run

    def add(self, job: Job) -> Admission:
        """The job waits, unless there are too many of its kind; twice the same is once."""
        if job.generation in self._known:
            return Admission.ACCEPTED
        caps = self._caps.of(job.upstream)
        if self._queued[job.user] >= self._caps.max_user_queued:
            return Admission.USER_FULL
        here = self._upstream_queued[job.upstream] + self._upstream_running[job.upstream]
        if caps.max_queued is not None and here >= (caps.max_running or 0) + caps.max_queued:
            return Admission.UPSTREAM_FULL
        turn = max(self._turn, self._last_turns.get(job.user, 0)) + 1
        self._last_turns[job.user] = turn
        self._known.add(job.generation)
        self._waiting.append((turn, job))
        self._waiting.sort(key=lambda waiting: waiting[0])
        self._count_waiting(job, 1)
        return Admission.ACCEPTED

    def remove(self, job: Job) -> None:
        """The job waits no more, if it did."""
        for waiting in self._waiting:
            if waiting[1] == job:
                self._waiting.remove(waiting)
                self._known.discard(job.generation)
                self._count_waiting(job, -1)
                return

    def pop_ready(self) -> list[Job]:
        """Those for which there is room now, in their order; they run from now on."""
        due = []
        for waiting in tuple(self._waiting):
            turn, job = waiting
            most = self._caps.of(job.upstream).max_running
            if self._running[job.user] >= self._caps.max_user_running:
                continue
            if most is not None and self._upstream_running[job.upstream] >= most:
                continue
            self._waiting.remove(waiting)
            self._count_waiting(job, -1)
            self._running[job.user] += 1
            self._upstream_running[job.upstream] += 1
            self._turn = turn
            due.append(job)
        return due

    def waiting(self) -> list[Job]:
        """Those that wait, by turn."""
        return [job for _, job in self._waiting]

    def finish(self, job: Job) -> None:
        """A job that ran is over."""
        self._known.discard(job.generation)
        self._running[job.user] -= 1
        self._upstream_running[job.upstream] -= 1

    def _count_waiting(self, job: Job, more: int) -> None:
        self._queued[job.user] += more
        self._upstream_queued[job.upstream] += more
        if not self._queued[job.user]:
            self._last_turns.pop(job.user, None)
