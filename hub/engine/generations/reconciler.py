"""The reconciler: every generation that has not ended has a job, and a worker that attends to it.

A record and its job belong to two slots, which fail over alone, and there may be no worker at all.
So every node and every worker goes through the open generations at intervals; in each interval one
of them does it for all. It compares each record with its job:

    record            job                                    what happens
    stop requested    none, or no worker attends to it       stopped
    any               none                                   the job is added again, unless others
                                                             of its chat must end first
    any               no worker attends to it for too long   `queue_timeout`

    suspended         none                                   nothing
    suspended         any                                    the job is removed
    suspended, and    any                                    `input_timeout`
    its time is over

    The job of an external producer's attempt does not matter: its lease counts.

    record            lease                                  what happens
    stop requested    held                                   stopped
    any               ended                                  `producer_lost`
    waits for values  held                                   the inputs whose time is over end

Rules:
1. A job that a worker holds is left alone.
2. No times are compared: the checks in a row are counted in which no worker attends to a job. So a
   fail-over to a server with another clock ends no answer.
3. An end names the attempt and the writer of the record that was read, so the broker refuses it
   when a worker has started an attempt since then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from hub.core.external_producer import LeaseState
from hub.core.generation import Generation, Status
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore, OpenGeneration
from hub.ports.queue import GenerationQueue, JobState

_MAX_GENERATIONS_PER_CALL: Final = 100
_log = structlog.get_logger(__name__)


class ReconcilerTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of the reconciler, in seconds.

    lease_seconds: how long a job belongs to its worker without a renewal.
    max_queued_seconds: for how long a job may have no worker.
    """

    lease_seconds: float
    max_queued_seconds: float

    @property
    def interval_seconds(self) -> float:
        """The time between two checks of all open generations."""
        return self.lease_seconds / 3


class Reconciler:
    """Ends or queues again what no worker attends to; `run` does so at intervals."""

    def __init__(
        self,
        jobs: GenerationJobs,
        store: GenerationStore,
        queue: GenerationQueue,
        clock: Clock,
        times: ReconcilerTimes,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now  # in Unix seconds
        self._jobs = jobs
        self._store = store
        self._queue = queue
        self._clock = clock
        self._times = times

    async def run(self) -> None:
        """Look at the open generations at intervals, until cancelled. Raise BrokerUnavailable."""
        while True:
            await self._clock.sleep(self._times.interval_seconds)
            await self.check()

    async def check(self) -> None:
        """Look at the open generations once, unless another process has just done so.

        Raise BrokerUnavailable.
        """
        generations = await self._store.take_open(self._times.interval_seconds)
        for first in range(0, len(generations), _MAX_GENERATIONS_PER_CALL):
            page = generations[first : first + _MAX_GENERATIONS_PER_CALL]
            states = await self._queue.job_states([each.id for each in page])
            for generation, state in zip(page, states, strict=True):
                try:
                    await self._reconcile(generation, state)
                except BrokerUnavailable:
                    raise
                except Exception:  # noqa: BLE001 - one record must not stop the others
                    _log.exception("generation.reconciliation_failed", generation=generation.id)

    async def _reconcile(self, generation: OpenGeneration, state: JobState | None) -> None:
        if generation.lease is not LeaseState.NONE:
            await self._reconcile_leased(generation)
            return
        interval = self._times.interval_seconds
        if state is not None and state.is_attended:
            return
        if generation.is_suspended:
            await self._reconcile_suspended(generation, state)
            return
        if generation.stop_requested:
            await self._end(generation, Status.STOPPED, {})
        elif state is None:
            if not 0 <= generation.age_seconds < interval:  # a new one is about to be queued
                await self._requeue(generation)
        elif state.unattended_checks * interval > self._times.max_queued_seconds:
            await self._end_in_time(generation)

    async def _reconcile_suspended(
        self, generation: OpenGeneration, state: JobState | None
    ) -> None:
        if state is None and not generation.is_overdue:
            return
        record = await self._store.find(generation.id)
        if record is None or record.status is not Status.SUSPENDED:
            return
        if generation.is_overdue:
            if await self._jobs.end_unanswered(record):
                _log.info("generation.input_timeout", generation=record.id)
            return
        # Whoever suspended it was lost before it could do the rest.
        await self._jobs.show_request(record)
        await self._jobs.release(record)

    async def _reconcile_leased(self, generation: OpenGeneration) -> None:
        if generation.stop_requested:
            await self._end(generation, Status.STOPPED, {})
        elif generation.lease is LeaseState.ENDED:
            record = await self._store.find(generation.id)
            if record is not None and record.external is not None and not record.external.is_held:
                await self._end_lost(record)
        elif generation.is_waiting:
            record = await self._store.find(generation.id)
            if record is not None and await self._jobs.end_overdue_inputs(record, self._now()):
                _log.info("generation.inputs_expired", generation=record.id)

    async def _end_lost(self, record: Generation) -> None:
        if not record.status.ended and await self._jobs.end_lost(record):
            _log.warning("generation.producer_lost", generation=record.id, attempt=record.attempt)

    async def _end_in_time(self, generation: OpenGeneration) -> None:
        what = "continue" if generation.attempt else "start"
        message = f"no worker was free in time to {what} the answer"
        failure = {"code": "queue_timeout", "message": message, "retryable": True}
        await self._end(generation, Status.FAILED, failure)

    async def _end(
        self, generation: OpenGeneration, status: Status, fields: dict[str, Any]
    ) -> None:
        record = await self._store.find(generation.id)
        if record is None or record.status.ended or record.attempt != generation.attempt:
            return
        if status is Status.STOPPED:
            fields = {"by": record.stop_requested_by}
        if await self._jobs.end(record, status, fields):
            _log.warning("generation.ended_without_worker", generation=record.id, **fields)

    async def _requeue(self, generation: OpenGeneration) -> None:
        record = await self._store.find(generation.id)
        if record is not None and not record.status.ended:
            if record.waits:
                await self._jobs.add_next(record)  # nobody may have been told that it may begin
                return
            if record.request.producer:
                # Nobody has begun it, and its lease was never told; or it was suspended and has its
                # value, and its process may begin the next attempt as long as the value could come.
                if record.suspended is None or generation.is_overdue:
                    await self._end_lost(record)
                return
            await self._jobs.add_again(record)
            _log.warning("generation.requeued", generation=record.id, attempt=record.attempt)
