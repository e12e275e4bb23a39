"""How full the broker is, and which answers wait for a worker: measured every few seconds.

Every node measures both, so that each tells the same, and the metrics outlive any one of them.
"""

from __future__ import annotations

from typing import Final

from hub.engine.metrics.node_metrics import NodeMetrics
from hub.ports.backend import BackendHealth, BrokerMemory
from hub.ports.clock import Clock
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue

_INTERVAL_SECONDS: Final = 5.0


class BrokerWatch:
    """Sets the gauges of the broker's memory and of the queue of answers."""

    def __init__(
        self,
        health: BackendHealth,
        queue: GenerationQueue,
        generations: GenerationStore,
        clock: Clock,
        metrics: NodeMetrics,
    ) -> None:
        self._health = health
        self._queue = queue
        self._generations = generations
        self._clock = clock
        self._memory = BrokerMemory(used_bytes=0, max_bytes=0)
        self._queued = 0
        self._oldest_seconds = 0.0
        metrics.redis_memory.set_function(lambda: self._memory.used_bytes)
        metrics.redis_max_memory.set_function(lambda: self._memory.max_bytes)
        metrics.waiting.set_function(lambda: self._queued)
        metrics.oldest_waiting.set_function(lambda: self._oldest_seconds)

    async def run(self) -> None:
        """Measure, until cancelled. Raise BrokerUnavailable."""
        while True:
            self._memory = await self._health.memory() or self._memory
            backlog = await self._queue.backlog()
            records = [await self._generations.find(each) for each in backlog.first]
            ages = [each.age_seconds for each in records if each and not each.status.ended]
            self._queued, self._oldest_seconds = backlog.total, max(ages, default=0.0)
            await self._clock.sleep(_INTERVAL_SECONDS)
