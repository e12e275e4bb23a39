"""The background worker: takes questions from the queue and relays their answers.

run → fetch → process (relay, while the lease is renewed) → settle; stops are heard beside it; shut
down lets what runs finish until the deadline and hands the rest to another worker.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from hub.engine.relay import Relay, StopWish
from hub.engine.supervise import cancel_and_wait
from hub.errors import BrokerUnavailable
from hub.ports import Clock, GenerationQueue, GenerationStore, Lease

_WAIT_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Worker:
    """Relays up to `concurrency` generations at a time."""

    def __init__(
        self,
        queue: GenerationQueue,
        store: GenerationStore,
        relay: Relay,
        clock: Clock,
        *,
        concurrency: int,
        lease_seconds: float,
    ) -> None:
        self._queue = queue
        self._store = store
        self._relay = relay
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._free = asyncio.Semaphore(concurrency)
        self._running: dict[str, StopWish] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self) -> None:
        """Takes jobs while there is room, until cancelled."""
        while True:
            await self._free.acquire()
            try:
                lease = await self._queue.take(_WAIT_SECONDS)
            except BaseException:
                self._free.release()
                raise
            if lease is None:
                self._free.release()
                continue
            task = asyncio.create_task(self._process(lease), name=f"relay {lease.generation}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def hear_stops(self) -> None:
        """Passes stops on to what runs here, until cancelled."""
        async for generation in self._queue.stops():
            await self._pass_on_stop(generation)

    async def shut_down(self, deadline_seconds: float) -> None:
        """Waits for what runs; what still runs at the deadline goes to another worker."""
        if self._tasks:
            _log.info("worker.finishing", generations=len(self._tasks))
            await asyncio.wait(self._tasks, timeout=deadline_seconds)
        await cancel_and_wait(self._tasks)

    async def _process(self, lease: Lease) -> None:
        stop = StopWish()
        if lease.generation in self._running:
            # Its lease ran out while this worker was stalled, and came back to it: it still runs.
            return
        self._running[lease.generation] = stop
        renewal = asyncio.create_task(self._renew(lease), name=f"renew {lease.generation}")
        try:
            await self._relay.run(lease.generation, stop)
            await self._queue.settle(lease)
        except asyncio.CancelledError:
            await self._queue.release(lease)
            raise
        except BrokerUnavailable as error:
            # The lease runs out, and whoever reaches the broker then takes the job.
            _log.warning("worker.broker_away", generation=lease.generation, error=str(error))
        finally:
            renewal.cancel()
            del self._running[lease.generation]

    async def _renew(self, lease: Lease) -> None:
        """Keeps the lease, and looks for a wish to stop whose notice was lost."""
        while True:
            await self._clock.sleep(self._lease_seconds / 3)
            try:
                await self._queue.renew(lease)
                await self._pass_on_stop(lease.generation)
            except BrokerUnavailable as error:
                _log.warning("worker.renewal_failed", error=str(error))

    async def _pass_on_stop(self, generation: str) -> None:
        stop = self._running.get(generation)
        if stop is None:
            return
        record = await self._store.find(generation)
        if record is not None and record.stop_by is not None:
            stop.make(record.stop_by)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("worker.relay_failed", task=task.get_name(), exc_info=error)
