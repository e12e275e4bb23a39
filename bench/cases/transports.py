"""Broadcast one event over several transports, compared with SSE in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench import servers
from bench.cases.fanout import broadcast
from bench.load import Row
from bench.machine import resident_kb
from tests.topologies import free_ports

_PATHS: Final = {
    "sse": "/sse/connect/u%d",
    "ndjson": "/sse/connect/u%d",
    "websocket": "/ws/connect/u%d",
    "poll": "/poll/connect/u%d",
    "grpc": "",
}
TRANSPORTS: Final = tuple(transport for transport in _PATHS if transport != "sse")
# Connections, events a second, seconds. Long polling needs a request and a connection per event, so
# the usual number of connections could not be answered before the next event. The gRPC client is
# written in Python and needs a hundred times the CPU of the C client for the other transports.
_WORK: Final = {"poll": (500, 2, 10), "grpc": (500, 5, 10)}
_COUNTS: Final = ("events", "missing", "duplicates", "received − /metrics")
_DEFAULT_WORK: Final = (5000, 10, 5)


def compare_with_sse(names: Sequence[str], connections: int | None) -> Callable[[], list[Row]]:
    """Build the benchmark of these transports; transports with equal work share one SSE row."""

    def transports() -> list[Row]:
        """One event to many connections: CPU and memory of the node, compared with SSE."""
        rows = list[Row]()
        for work in (_DEFAULT_WORK, *_WORK.values()):
            group = [
                name
                for name in TRANSPORTS
                if name in names and _WORK.get(name, _DEFAULT_WORK) == work
            ]
            if group:
                count, rate, seconds = work
                rows += _compare(["sse", *group], connections or count, rate, seconds)
        return rows

    return transports


def _compare(transports: Sequence[str], connections: int, rate: int, seconds: int) -> list[Row]:
    rows = [_row(transport, connections, rate, seconds) for transport in transports]
    for row in rows:
        for title in ("µs per delivery", "kB each", "bytes per event"):
            row[f"{title}, × SSE"] = row[title] / rows[0][title]
    return rows


def _row(transport: str, connections: int, rate: int, seconds: int) -> Row:
    (grpc_port,) = free_ports(1)
    settings = {"HUB_PUBLIC__GRPC_PORT": str(grpc_port)} if transport == "grpc" else {}
    with servers.run_hub(**settings) as node:
        port = grpc_port if transport == "grpc" else node.port
        target = msgspec.structs.replace(node, stream_path=_PATHS[transport], port=port)
        empty_kb = resident_kb(target.pid)
        row = broadcast(target, connections, rate, seconds, transport=transport)
    return {
        "transport": transport,
        "connections": connections,
        "µs per delivery": row["µs per delivery"],
        "kB each": (row.pop("MB") * 1024 - empty_kb) / connections,
        "bytes per event": row["bytes per event"],
        **{title: row[title] for title in (*_COUNTS, "p50 ms", "p99 ms")},
    }
