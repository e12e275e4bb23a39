"""Sends the deliveries of one queue: takes what is due, has it sent, and records the result.

Rules:
1. A delivery is taken with a lease, and nothing else of its lane is taken meanwhile. The sender
   has two thirds of the lease; then the attempt has failed. So a process that is lost delays a lane
   by a lease, and the delivery may arrive twice.
2. At most `concurrency` deliveries are sent at once.
3. A failed delivery is tried again with a growing delay, until it is too old (core/deliveries.py).
4. At the end of the process, deliveries that are still being sent are due again at once, also
   those of a look that was cancelled while the broker took them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog

from hub.core.deliveries import (
    Dead,
    Failed,
    Postponed,
    Retry,
    RetryPolicy,
    SendResult,
    Settlement,
)
from hub.engine.metrics.delivery_metrics import DeliveryMetrics
from hub.engine.tasks import BackgroundTasks, cancel_and_wait, run_unless
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.deliveries import DeliveryStore, TakenDelivery

MIN_PAUSE_SECONDS: Final = 0.02
"""The time between two looks for due deliveries; those that became due meanwhile are taken
together."""
COUNT_SECONDS: Final = 15.0
_log = structlog.get_logger(__name__)


class DeliveryLoop:
    """Sends the deliveries of a queue.

    send: makes one attempt. concurrency: the number of attempts at once. lease_seconds: how long a
    delivery belongs to this process. poll_seconds: the time between two looks while nothing is due.
    jitter: returns random numbers from 0 to 1.
    """

    def __init__(
        self,
        store: DeliveryStore,
        queue: str,
        send: Callable[[TakenDelivery], Awaitable[SendResult]],
        clock: Clock,
        *,
        policy: RetryPolicy,
        concurrency: int,
        lease_seconds: float,
        poll_seconds: float,
        metrics: DeliveryMetrics | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self.queue = queue
        self._send = send
        self._clock = clock
        self._policy = policy
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._metrics = metrics or DeliveryMetrics()
        self._jitter = jitter
        self._tasks: set[asyncio.Task[None]] = set()  # one for each delivery that is being sent
        self._looks = BackgroundTasks()  # the one for due deliveries that runs
        self._wake = asyncio.Event()  # set: look for due deliveries now
        self._has_more = False  # whether the last look may have left some

    def __len__(self) -> int:
        """Return the number of deliveries that are being sent."""
        return len(self._tasks)

    def wake(self) -> None:
        """Look for due deliveries soon, because this process has just added some."""
        self._wake.set()

    async def run(self) -> None:
        """Start attempts until cancelled; those that run go on. Raise BrokerUnavailable."""
        while True:
            self._wake.clear()
            free = self._concurrency - len(self._tasks)
            if free > 0:
                taking = self._store.take(self.queue, free, lease_seconds=self._lease_seconds)
                taken = await self._looks.finish("take deliveries", taking, self._start)
                self._has_more = len(taken) == free
                self._start(taken)
            else:
                self._has_more = True
            pause = self._poll_seconds * (0.75 + 0.5 * self._jitter())
            await run_unless(self._wake, "pause of deliveries", self._clock.sleep(pause))
            await self._clock.sleep(MIN_PAUSE_SECONDS)

    async def run_counts(self) -> None:
        """Count what is stored, at intervals, until cancelled. Raise BrokerUnavailable."""
        while True:
            self._metrics.stored[self.queue] = await self._store.counts(self.queue)
            await self._clock.sleep(COUNT_SECONDS)

    async def shut_down(self, deadline_seconds: float, force: asyncio.Event) -> None:
        """Wait for the attempts that run, then give the others back.

        deadline_seconds: how long to wait. force: ends the wait at once when it is set.
        """
        await self._looks.join()
        if self._tasks:
            finished = asyncio.wait(self._tasks, timeout=deadline_seconds)
            await run_unless(force, "end of deliveries", _wait(finished))
        await cancel_and_wait(self._tasks)

    def _start(self, taken: Sequence[TakenDelivery]) -> None:
        for delivery in taken:
            task = asyncio.create_task(self._process(delivery), name=f"delivery {delivery.id}")
            self._tasks.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._has_more:
            self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery.not_recorded", task=task.get_name(), exc_info=error)

    async def _process(self, delivery: TakenDelivery) -> None:
        try:
            result = await self._attempt(delivery)
        except asyncio.CancelledError:
            await self._complete(delivery, Postponed(0.0))
            raise
        settlement = self._policy.decide(
            result,
            failures=delivery.failures,
            age_seconds=delivery.age_seconds,
            jitter=self._jitter(),
        )
        await self._complete(delivery, settlement)

    async def _attempt(self, delivery: TakenDelivery) -> SendResult:
        limit_seconds = self._lease_seconds * 2 / 3
        task = asyncio.ensure_future(self._send(delivery))
        limit = asyncio.create_task(self._clock.sleep(limit_seconds), name="limit of a delivery")
        try:
            await asyncio.wait([task, limit], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return Failed(f"no result after {limit_seconds:g} seconds")
            return task.result()
        except Exception as error:  # noqa: BLE001 - a mistake of the sender costs one attempt
            _log.exception("delivery.attempt_failed", queue=self.queue, delivery=delivery.id)
            return Failed(f"internal error: {type(error).__name__}")
        finally:
            await cancel_and_wait([task, limit])

    async def _complete(self, delivery: TakenDelivery, settlement: Settlement) -> None:
        try:
            completed = await self._store.complete(delivery, settlement)
        except BrokerUnavailable as error:  # the lease ends, and it is taken again
            _log.warning("delivery.not_recorded", delivery=delivery.id, error=str(error))
            self._metrics.attempts[self.queue, "not_recorded"] += 1
            return
        outcome = type(settlement).__name__.lower() if completed.is_recorded else "lease_lost"
        self._metrics.attempts[self.queue, outcome] += 1
        if isinstance(settlement, Retry | Dead) and completed.is_recorded:
            is_dead = isinstance(settlement, Dead)
            write = _log.warning if is_dead else _log.info
            write(
                "delivery.dead" if is_dead else "delivery.failed",
                queue=self.queue,
                delivery=delivery.id,
                failures=delivery.failures + 1,
                error=settlement.error,
            )
        if completed.is_next_due:
            self._wake.set()


async def _wait(awaitable: Awaitable[Any]) -> None:
    await awaitable
