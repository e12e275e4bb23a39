"""The background worker: takes questions from the queue and relays their answers.

fetch → process (relay) → settle; beside it leases are renewed and stops are heard; shut down lets
what runs finish until the deadline and hands the rest to another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from hub.engine.relay import GenerationResult, Relay, StopSignal
from hub.engine.tasks import cancel_and_wait
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue, Lease

_WAIT_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class _Job:
    """What runs here: its lease, its task, and how to stop it."""

    def __init__(self, lease: Lease, task: asyncio.Task[None]) -> None:
        self.lease = lease
        self.task = task
        self.stop = StopSignal()


async def _forget(ended: GenerationResult) -> None:
    """Nobody counts."""


class Worker:
    """Relays up to `concurrency` generations at a time. note: is told of each that ended here."""

    def __init__(
        self,
        queue: GenerationQueue,
        store: GenerationStore,
        relay: Relay,
        clock: Clock,
        *,
        concurrency: int,
        lease_seconds: float,
        on_result: Callable[[GenerationResult], Awaitable[None]] = _forget,
    ) -> None:
        self._queue = queue
        self._store = store
        self._relay = relay
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._free = asyncio.Semaphore(concurrency)
        self._on_result = on_result
        self._running: dict[str, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many generations run here."""
        return len(self._running)

    async def run_fetch(self) -> None:
        """Takes jobs while there is room, until cancelled."""
        while True:
            await self._free.acquire()
            try:
                lease = await self._queue.reserve(_WAIT_SECONDS)
            except BaseException:
                self._free.release()
                raise
            if lease is None:
                self._free.release()
                continue
            task = asyncio.create_task(self._process(lease), name=f"relay {lease.generation}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def run_stops(self) -> None:
        """Passes stops on to what runs here, until cancelled."""
        async for generation in self._queue.stops():
            await self._signal_stop(generation)

    async def shut_down(self, deadline_seconds: float, force: asyncio.Event) -> None:
        """Waits for what runs; what still runs at the deadline, or in a hurry, goes to another
        worker.
        """
        if self._tasks:
            _log.info("worker.finishing", generations=len(self._tasks))
            hurried = asyncio.create_task(force.wait())
            finished = asyncio.create_task(asyncio.wait(self._tasks))
            waits: list[asyncio.Task[Any]] = [finished, hurried]
            await asyncio.wait(waits, timeout=deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(waits)
        await cancel_and_wait(self._tasks)

    async def run_leases(self) -> None:
        """Renews what runs here, until cancelled, and looks for wishes to stop whose notice was
        lost.
        """
        while True:
            await self._clock.sleep(self._lease_seconds / 3)
            try:
                lost = await self._queue.renew([job.lease for job in self._running.values()])
                for lease in lost:
                    self._give_up(lease)
                for generation in tuple(self._running):
                    await self._signal_stop(generation)
            except BrokerUnavailable as error:
                _log.warning("worker.renewal_failed", error=str(error))

    async def _process(self, lease: Lease) -> None:
        if lease.generation in self._running:
            # Its lease ran out while this worker was stalled, and came back to it: it still runs.
            self._running[lease.generation].lease = lease
            return
        task = asyncio.current_task()
        assert task is not None
        job = self._running[lease.generation] = _Job(lease, task)
        try:
            ended = await self._relay.run(lease.generation, job.stop, deliveries=lease.deliveries)
            await self._queue.complete(job.lease)
            if ended is not None:
                await self._on_result(ended)
        except asyncio.CancelledError:
            await self._queue.release(job.lease)  # nothing, when it is another's by now
            raise
        except BrokerUnavailable as error:
            # The lease runs out, and whoever reaches the broker then takes the job.
            _log.warning("worker.broker_away", generation=lease.generation, error=str(error))
        finally:
            del self._running[lease.generation]

    def _give_up(self, lease: Lease) -> None:
        """The job is another worker's by now; whatever this one wrote would be refused."""
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

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("worker.relay_failed", task=task.get_name(), exc_info=error)
