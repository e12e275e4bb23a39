"""The metrics of a node. The table in docs/reference/metrics.md is made from them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final

from hub.core.metrics import Counter, CounterFunction, Gauge, Histogram
from hub.engine.metrics.generation_metrics import GenerationMetrics
from hub.engine.metrics.redis_metrics import redis_counters
from hub.ports.backend import BackendStatistics
from hub.ports.clock import Clock

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LOOP_INTERVAL_SECONDS: Final = 0.1
_NO_MODELS: Final[Mapping[str, Collection[str]]] = {}


class NodeMetrics(GenerationMetrics):
    """What one node counts. Gauges and function counters belong to the parts that set them.

    statistics: those of the backend; None counts nothing of it. models: as in GenerationMetrics;
    the answers are those of external producers.
    """

    def __init__(
        self,
        statistics: BackendStatistics | None = None,
        models: Mapping[str, Collection[str]] = _NO_MODELS,
    ) -> None:
        super().__init__(models)
        self.connections = Gauge("hub_connections", "Open connections.", "transport")
        self.users = Gauge("hub_users", "Users with at least one open connection on this node.")
        self.recovering = Gauge(
            "hub_connections_catching_up",
            "Connections that subscribe or replay the log, or wait for their turn to do so.",
        )
        self.opened = Counter("hub_connections_opened", "Connections opened.", "transport")
        self.closed = Counter(
            "hub_connections_closed",
            "Connections closed. The reason slow means a full outbox; full, replaced and max_age "
            "are limits.",
            "reason",
        )
        self.delivered = CounterFunction(
            "hub_events_delivered", "Events delivered to connections.", "transport"
        )
        self.replayed = Counter("hub_events_replayed", "Delivered events that came from the log.")
        self.gaps_found = Counter(
            "hub_gaps_found",
            "Channels that lacked their newest events when the node compared them with the log.",
        )
        self.gap_check_age = Gauge(
            "hub_gap_check_age_seconds",
            "Time since the start of the last complete comparison of all followed channels with "
            "their logs; below 10 while Redis answers.",
        )
        self.resets = Counter("hub_resets", "Cursors that could not be continued.", "reason")
        self.published = Counter(
            "hub_events_published",
            "Events published through this node, counted once per channel.",
            "outcome",
        )
        self.inbox_items = Counter(
            "hub_inbox_items", "Items kept in inboxes of users, of topics and of all."
        )
        self.inbox_changes = Counter(
            "hub_inbox_changes", "Requests that change items of inboxes.", "change"
        )
        self.under_replicated = Counter(
            "hub_events_under_replicated",
            "Published events that fewer replicas were known to have than redis.wait_replicas asks "
            "for, when the publisher was answered.",
        )
        self.responses = Counter(
            "hub_http_requests",
            "HTTP and gRPC requests answered. A stream that started counts in "
            "hub_connections_opened instead.",
            *("listener", "route", "status"),
        )
        self.refused = Counter(
            "hub_requests_refused", "Requests refused with 429 because of a limit.", "limit"
        )
        self.origins_refused = Counter(
            "hub_origins_refused",
            "Responses that a page could not read, because its origin is not in "
            "public.allowed_origins.",
        )
        self.delivery_delay = Histogram(
            "hub_delivery_delay_seconds",
            "Time from a publish to the sockets of this node, measured with one probe event each "
            "second.",
            bounds=_BOUNDS,
        )
        self.round_trip = Histogram(
            "hub_redis_round_trip_seconds",
            "Time that Redis took to answer the publish of the probe event.",
            bounds=_BOUNDS,
        )
        self.heartbeat_lateness = Histogram(
            "hub_heartbeat_lateness_seconds",
            "Delay of the heartbeat timer, measured at each tick.",
            bounds=_BOUNDS,
        )
        self.loop_lag = Histogram(
            "hub_loop_lag_seconds",
            "Delay of the event loop, measured ten times a second.",
            bounds=_BOUNDS,
        )
        self.redis_calls, self.redis_disconnects, self.redis_refusals = redis_counters(statistics)
        self.redis_memory = Gauge(
            "hub_redis_memory_bytes", "Memory that the fullest server of Redis uses."
        )
        self.redis_max_memory = Gauge(
            "hub_redis_max_memory_bytes", "Limit of that memory (maxmemory); 0 means no limit."
        )
        self.waiting = Gauge(
            "hub_generations_waiting", "Generations that no worker has reserved, on all nodes."
        )
        self.oldest_waiting = Gauge(
            "hub_generations_oldest_waiting_seconds",
            "Time since the request of the generation that workers get next; 0 without any.",
        )
        self.draining = Gauge("hub_draining", "1 after SIGTERM, else 0.")
        self.start_time = Gauge(
            "hub_start_time_seconds", "Start time of the process in Unix seconds."
        )
        started_at = time.time()
        self.start_time.set_function(lambda: started_at)

    async def measure_loop_lag(self, clock: Clock) -> None:
        """Measure how much later than requested a sleep returns, until cancelled."""
        while True:
            due = clock.now() + _LOOP_INTERVAL_SECONDS
            await clock.sleep(_LOOP_INTERVAL_SECONDS)
            self.loop_lag.observe(max(0.0, clock.now() - due))
