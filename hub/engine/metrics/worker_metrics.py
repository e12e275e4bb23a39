"""The metrics of a worker. The table in docs/reference/metrics.md is made from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from hub.core.metrics import Counter, Gauge, MetricFamily
from hub.engine.metrics.delivery_metrics import DeliveryMetrics
from hub.engine.metrics.generation_metrics import GenerationMetrics
from hub.engine.metrics.guard_metrics import GuardMetrics
from hub.engine.metrics.outbox_metrics import OutboxMetrics
from hub.engine.metrics.push_metrics import PushMetrics
from hub.engine.metrics.redis_metrics import redis_counters
from hub.ports.backend import BackendStatistics


class WorkerMetrics(GenerationMetrics):
    """What one worker counts.

    models: as in GenerationMetrics. statistics: those of the backend; None counts nothing of it.
    """

    def __init__(
        self,
        models: Mapping[str, Collection[str]],
        statistics: BackendStatistics | None = None,
    ) -> None:
        super().__init__(models)
        self.running = Gauge("hub_generations_running", "Generations running on this worker.")
        self.odd_fields = Counter(
            "hub_upstream_odd_fields",
            "Fields of upstreams' answers that had an unexpected type, and cost only themselves.",
            "upstream",
        )
        self.guards = GuardMetrics()
        self.deliveries = DeliveryMetrics()
        self.push = PushMetrics()
        self.outbox = OutboxMetrics()
        self.redis_calls, self.redis_disconnects, self.redis_refusals = redis_counters(statistics)

    def families(self) -> Sequence[MetricFamily]:
        """Return a snapshot of each metric, those of its parts last."""
        return [
            *super().families(),
            *self.guards.families(),
            *self.deliveries.families(),
            *self.push.families(),
            *self.outbox.families(),
        ]

    def record_odd_fields(self, upstream: str, count: int) -> None:
        """Count the odd fields of one answer."""
        self.odd_fields[upstream] += count
