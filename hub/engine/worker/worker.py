"""The background worker: takes jobs from the queue and relays their generations.

Each job is fetched, relayed and completed. Beside that, the worker renews the leases of its jobs
and passes on stop requests. At shutdown it lets running generations finish until a deadline and
then releases the others to another worker.

Rules:
1. A job is completed only after its generation has ended or is suspended, so a lost worker loses no
   job.
2. A worker that lost the lease of a job cancels its relay; the broker refuses its events anyway.
3. A worker begins an attempt only while it holds the lease. It may have been frozen since it
   reserved the job.
4. A worker that may not continue a generation gives the job to those of its version.
5. A worker whose events are refused although the generation has not ended releases the job.
6. A renewal that failed is repeated soon, so that leases survive a broker that did not answer.
7. A job is not among the running ones any more when it is completed or released: this worker itself
   may be the one that gets the next job of the same generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Literal

import structlog

from hub.core.generation import Status
from hub.engine.attempts.attempt import AttemptSuperseded, GenerationResult, OtherVersion
from hub.engine.attempts.stop_signal import StopSignal
from hub.engine.tasks import cancel_and_wait
from hub.engine.worker.relay import Relay
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue, Lease

RESERVE_TIMEOUT_SECONDS: Final = 1.0
_RENEWAL_RETRY_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


class _RunningJob:
    """A job on this worker: its lease, the task that relays it, and its stop signal."""

    def __init__(self, lease: Lease, task: asyncio.Task[None]) -> None:
        self.lease = lease
        self.task = task
        self.stop = StopSignal()


async def _ignore_result(result: GenerationResult) -> None:
    pass


async def _ignore_release(generation: str, was_suspended: bool) -> None:
    pass


class Worker:
    """Relays up to `concurrency` generations at a time.

    lease_seconds: how long a job stays reserved without a renewal. on_result: called for each
    generation that ended on this worker. on_notice: called with each generation whose record has
    something new. on_released: called after the job of a generation was completed that did not end
    here, and with whether the worker has left it suspended; it may have got its value, or its end,
    before the job was completed.
    """

    def __init__(
        self,
        queue: GenerationQueue,
        store: GenerationStore,
        relay: Relay,
        clock: Clock,
        *,
        concurrency: int,
        lease_seconds: float,
        on_result: Callable[[GenerationResult], Awaitable[None]] = _ignore_result,
        on_notice: Callable[[str], None] = lambda generation: None,
        on_released: Callable[[str, bool], Awaitable[None]] = _ignore_release,
    ) -> None:
        self._on_released = on_released
        self._on_notice = on_notice
        self._queue = queue
        self._store = store
        self._relay = relay
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._free = asyncio.Semaphore(concurrency)  # one permit per job that may start
        self._on_result = on_result
        self._running: dict[str, _RunningJob] = {}  # by generation
        self._tasks: set[asyncio.Task[None]] = set()  # all relay tasks, also those that finish

    def __len__(self) -> int:
        """Return the number of generations that run on this worker."""
        return len(self._running)

    async def run_fetch(self) -> None:
        """Start a job whenever there is capacity, until cancelled."""
        while True:
            await self._free.acquire()
            try:
                lease = await self._queue.reserve(RESERVE_TIMEOUT_SECONDS)
            except BaseException:
                self._free.release()
                raise
            if lease is None:
                self._free.release()
                continue
            task = asyncio.create_task(self._process(lease), name=f"relay {lease.generation}")
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)

    async def run_notices(self) -> None:
        """Pass stop requests, values and messages on to the jobs, until cancelled."""
        async for generation in self._queue.notices():
            self._on_notice(generation)
            await self._signal_stop(generation)

    async def run_leases(self) -> None:
        """Renew the leases, and look for stop requests whose notice was lost, until cancelled."""
        interval = delay = self._lease_seconds / 3
        while True:
            await self._clock.sleep(delay)
            delay = interval
            try:
                lost = await self._queue.renew([job.lease for job in self._running.values()])
                for lease in lost:
                    self._on_lease_lost(lease)
                # All at once: one after the other they would take longer than a lease.
                await asyncio.gather(*map(self._signal_stop, tuple(self._running)))
            except BrokerUnavailable as error:
                _log.warning("worker.renewal_failed", error=str(error))
                delay = min(interval, _RENEWAL_RETRY_SECONDS)

    async def shut_down(self, deadline_seconds: float, force: asyncio.Event) -> None:
        """Wait for the running generations, then release those that still run.

        deadline_seconds: how long to wait. force: ends the wait at once when it is set.
        """
        if self._tasks:
            _log.info("worker.finishing", generations=len(self._tasks))
            forced = asyncio.create_task(force.wait())
            finished = asyncio.create_task(asyncio.wait(self._tasks))
            waits: list[asyncio.Task[Any]] = [finished, forced]
            await asyncio.wait(waits, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(waits)
        await cancel_and_wait(self._tasks)

    async def _process(self, lease: Lease) -> None:
        if lease.generation in self._running:
            # The lease expired while this worker was stalled, and the job came back to it. The
            # first task still relays the generation; it continues under the new lease.
            self._running[lease.generation].lease = lease
            return
        task = asyncio.current_task()
        assert task is not None
        job = self._running[lease.generation] = _RunningJob(lease, task)
        try:
            result = await self._relay_job(job)
            await self._queue.complete(job.lease)
            if not isinstance(result, GenerationResult):
                await self._on_released(lease.generation, result is Status.SUSPENDED)
        except AttemptSuperseded:
            _log.warning("worker.superseded", generation=lease.generation)
            await self._queue.release(job.lease)  # does nothing if another worker has the job
        except OtherVersion as error:
            _log.info("worker.other_version", generation=lease.generation, version=error.version)
            await self._queue.release(job.lease, version=error.version)
        except asyncio.CancelledError:
            await self._queue.release(job.lease)  # does nothing if another worker has the job
            raise
        except BrokerUnavailable as error:
            # The lease expires, and a worker that reaches the broker takes the job.
            _log.warning("worker.broker_unavailable", generation=lease.generation, error=str(error))

    async def _relay_job(
        self, job: _RunningJob
    ) -> GenerationResult | Literal[Status.SUSPENDED] | None:
        """Relay the generation of a job as one of the running ones. Return and raise as Relay.run.

        An erasure waits until the job is complete, so the result is passed on before.
        """
        try:
            holds_lease = partial(self._holds_lease, job)
            result = await self._relay.run(job.lease, job.stop, holds_lease=holds_lease)
            if isinstance(result, GenerationResult):
                await self._on_result(result)
            return result
        finally:
            del self._running[job.lease.generation]

    async def _holds_lease(self, job: _RunningJob) -> bool:
        """Renew the lease of a job, and return whether this worker still holds it."""
        return not await self._queue.renew([job.lease])

    def _on_lease_lost(self, lease: Lease) -> None:
        """Cancel a job that belongs to another worker by now."""
        job = self._running.get(lease.generation)
        if job is not None and job.lease == lease:
            _log.warning("worker.lease_lost", generation=lease.generation)
            job.task.cancel()

    async def _signal_stop(self, generation: str) -> None:
        job = self._running.get(generation)
        if job is None:
            return
        by = await self._store.stop_requested_by(generation)
        if by is not None:
            job.stop.set(by)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("worker.relay_failed", task=task.get_name(), exc_info=error)
