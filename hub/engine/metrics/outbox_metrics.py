"""The metrics of the outbox, which workers and `hub outbox` have."""

from __future__ import annotations

from typing import Final

from hub.core.metrics import Counter, Gauge, Histogram, MetricSet

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class OutboxMetrics(MetricSet):
    """What one consumer of the outbox counts."""

    def __init__(self) -> None:
        self.rows = Counter(
            "hub_outbox_rows",
            "Rows of the outbox by outcome: published, duplicate (published before) or refused.",
            "outcome",
        )
        self.delay_seconds = Histogram(
            "hub_outbox_delay_seconds",
            "Time from the insert of a row until it was read for its publish.",
            bounds=_BOUNDS,
        )
        self.retries = Counter(
            "hub_outbox_retries",
            "Batches that the consumer repeats, by what was away: broker or database.",
            "cause",
        )
        self.connected = Gauge(
            "hub_outbox_connected", "1 while the consumer has a session in PostgreSQL, otherwise 0."
        )
        self.partitions = Gauge(
            "hub_outbox_partitions", "Partitions of the outbox that this consumer reads."
        )
        self.backlog = Gauge(
            "hub_outbox_backlog", "Rows that wait in the whole table, counted up to 100,000."
        )
        self.oldest_seconds = Gauge(
            "hub_outbox_oldest_seconds", "Age of the oldest row that waits; 0 without any."
        )
        self.refused_rows = Gauge(
            "hub_outbox_refused_rows", "Rows that were refused and set aside, up to 100,000."
        )
