"""The metrics of the connections to Redis, which nodes and workers have alike."""

from __future__ import annotations

from hub.core.metrics import CounterFunction
from hub.ports.backend import BackendStatistics


def redis_counters(
    statistics: BackendStatistics | None,
) -> tuple[CounterFunction, CounterFunction, CounterFunction]:
    """Return the counters of calls, disconnects and refusals.

    statistics: those of the backend; None counts nothing.
    """
    calls = CounterFunction("hub_redis_calls", "Commands sent to Redis.")
    disconnects = CounterFunction(
        "hub_redis_link_breaks", "Connections to Redis that broke.", "link"
    )
    refusals = CounterFunction(
        "hub_redis_refusals",
        "Calls that Redis refused, because its memory is full (out_of_memory), or because its "
        "disk fails or replicas are missing (refuses_writes).",
        "reason",
    )
    if statistics is not None:
        calls.set_function(lambda: statistics.calls)
        disconnects.set_function(lambda: statistics.disconnects)
        refusals.set_function(lambda: statistics.refusals)
    return calls, disconnects, refusals
