"""A node's metrics. docs/metrics.md has the table that is made from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hub.engine.connections import Connections
from hub.engine.node_metrics import NodeMetrics
from hub.metrics.families import Kind, MetricFamily, counts_by, histogram, number


def node_families(
    fanout: Connections, counts: NodeMetrics, *, redis_calls: int, link_breaks: Mapping[str, int]
) -> Sequence[MetricFamily]:
    """As they are now. link_breaks: of the links for commands and for events."""
    open_, delivered = _of_connections(fanout, counts)
    gauge: Kind = "gauge"
    total: Kind = "counter"
    return [
        counts_by("hub_connections", "Open connections.", gauge, ["transport"], open_),
        number("hub_users", "Users who are connected here.", gauge, fanout.users),
        number(
            "hub_connections_catching_up",
            "Connections that join or read the log; they wait for turns and for Redis.",
            gauge,
            fanout.recovering,
        ),
        counts_by(
            "hub_connections_opened", "Connections begun.", total, ["transport"], counts.opened
        ),
        counts_by(
            "hub_connections_closed",
            "Connections ended: slow is a full outbox; full, replaced and max_age are limits.",
            total,
            ["reason"],
            counts.closed,
        ),
        counts_by(
            "hub_events_delivered", "Events handed to connections.", total, ["transport"], delivered
        ),
        number("hub_events_replayed", "Those of them from the log.", total, counts.replayed),
        counts_by(
            "hub_resets", "Cursors that could not be continued.", total, ["reason"], counts.resets
        ),
        counts_by(
            "hub_events_published",
            "Events published through this node, one for each channel.",
            total,
            ["outcome"],
            counts.published,
        ),
        counts_by(
            "hub_http_requests",
            "Requests answered; a stream that began is in hub_connections_opened instead.",
            total,
            ["listener", "route", "status"],
            counts.responses,
        ),
        counts_by(
            "hub_requests_refused", "Refused by a limit: 429.", total, ["limit"], counts.refused
        ),
        histogram(
            "hub_delivery_delay_seconds",
            "From publish to sockets, by an event of the node's own each second.",
            counts.delivery_delay,
        ),
        histogram("hub_redis_round_trip_seconds", "Of that event's publish.", counts.round_trip),
        histogram(
            "hub_heartbeat_lateness_seconds",
            "Of the heartbeats' wheel, at each of its ticks.",
            counts.heartbeat_lateness,
        ),
        histogram(
            "hub_loop_lag_seconds", "Of the event loop, ten times a second.", counts.loop_lag
        ),
        number("hub_redis_calls", "Calls to Redis.", total, redis_calls),
        counts_by(
            "hub_redis_link_breaks", "Links to Redis that broke.", total, ["link"], link_breaks
        ),
        number("hub_draining", "1 from SIGTERM on.", gauge, int(fanout.draining)),
        number("hub_start_time_seconds", "Of the process, Unix time.", gauge, counts.started_at),
    ]


def _of_connections(
    fanout: Connections, counts: NodeMetrics
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """How many are open, and the events that were delivered, by transport."""
    open_: Counter[str] = Counter(dict.fromkeys(counts.opened, 0))
    delivered = Counter(counts.delivered)
    for connection in fanout.connections:
        label = connection.encoder.label
        open_[label] += 1
        delivered[label] += connection.events
    return open_, delivered
