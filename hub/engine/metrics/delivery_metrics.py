"""The metrics of deliveries: what a process has sent, and what is stored."""

from __future__ import annotations

from collections.abc import Callable

from hub.core.metrics import Counter, CounterFunction, Gauge, MetricSet
from hub.ports.deliveries import DeliveryCounts


class DeliveryMetrics(MetricSet):
    """What one process counts of the deliveries of all queues.

    stored: what is stored of each queue, as this process has read it last.
    """

    def __init__(self) -> None:
        self.stored: dict[str, DeliveryCounts] = {}
        self.paused = Gauge(
            "hub_webhooks_paused",
            "Webhooks that are paused because they keep failing, as this worker has read it last.",
        )
        self.attempts = Counter(
            "hub_deliveries",
            "Deliveries that this process has handled, by their outcome; those with lease_lost and "
            "not_recorded are sent again.",
            "queue",
            "outcome",
        )
        self.waiting = self._read(
            Gauge,
            "hub_deliveries_waiting",
            "Deliveries that wait or are being sent, on all nodes.",
            lambda counts: counts.waiting,
        )
        self.dead = self._read(
            Gauge,
            "hub_deliveries_dead_letters",
            "Dead letters that are kept.",
            lambda counts: counts.dead,
        )
        self.bytes = self._read(
            Gauge,
            "hub_deliveries_stored_bytes",
            "Bodies of stored deliveries, dead letters included.",
            lambda counts: counts.bytes,
        )
        self.dropped = self._read(
            CounterFunction,
            "hub_deliveries_dropped",
            "Deliveries and dead letters that were dropped because there was no room for them.",
            lambda counts: counts.dropped,
        )

    def _read(
        self,
        kind: type[Gauge],
        name: str,
        help_text: str,
        value: Callable[[DeliveryCounts], float],
    ) -> Gauge:
        metric = kind(name, help_text, "queue")
        metric.set_function(lambda: {queue: value(each) for queue, each in self.stored.items()})
        return metric
