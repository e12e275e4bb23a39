"""What a worker sends deliveries with: one loop for each queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from hub.core.webhooks import WEBHOOK_QUEUE
from hub.engine.delivery_loop import DeliveryLoop
from hub.engine.metrics.delivery_metrics import DeliveryMetrics
from hub.engine.tasks import Supervisor
from hub.ports.clock import Clock
from hub.settings import Settings
from hub.webhooks.endpoints import Endpoints
from hub.wiring.backend import build_retry_policy
from hub.wiring.shutdown import Shutdown
from hub.wiring.webhooks import Webhooks, open_webhook_sender


class DeliveryLoops:
    """The loops of a worker. endpoints: those of webhooks, which are kept up to date."""

    def __init__(self, loops: Sequence[DeliveryLoop], endpoints: Endpoints) -> None:
        self._loops = loops
        self._endpoints = endpoints

    def start(self, tasks: Supervisor, intake: Supervisor) -> None:
        """Start the loops. intake: ends when the worker takes nothing new; tasks: ends later."""
        tasks.start("endpoints of webhooks", self._endpoints.run)
        for loop in self._loops:
            tasks.start(f"counts of {loop.queue}", loop.run_counts)
            intake.start(f"deliveries of {loop.queue}", loop.run)

    async def shut_down(self, deadline_seconds: float, stop: Shutdown) -> None:
        """Wait for the attempts that run, then give the others back."""
        await asyncio.gather(
            *(loop.shut_down(deadline_seconds, stop.forced) for loop in self._loops)
        )


async def open_delivery_loops(
    settings: Settings,
    webhooks: Webhooks,
    clock: Clock,
    metrics: DeliveryMetrics,
    opened: AsyncExitStack,
) -> DeliveryLoops:
    """Open the loops; what they use closes with `opened`."""
    sender, lease_seconds = await open_webhook_sender(settings, webhooks, opened)
    metrics.paused.set_function(webhooks.endpoints.count_paused)
    loop = DeliveryLoop(
        webhooks.backend.deliveries,
        WEBHOOK_QUEUE,
        sender.send,
        clock,
        policy=build_retry_policy(settings),
        concurrency=settings.deliveries.concurrency,
        lease_seconds=lease_seconds,
        poll_seconds=settings.deliveries.poll_seconds,
        metrics=metrics,
    )
    return DeliveryLoops([loop], webhooks.endpoints)
