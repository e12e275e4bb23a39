"""One event to many connections over each transport, beside server-sent events in the same run."""

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
WAYS: Final = tuple(way for way in _PATHS if way != "sse")
# Connections, events a second, seconds. Each event costs a poll a connection and a request of its
# own: as many as the others have would not be answered before the next event.
# A client of gRPC in Python takes a hundred times what one in C takes for the others.
_WORK: Final = {"poll": (500, 2, 10), "grpc": (500, 5, 10)}
_COUNTS: Final = ("events", "missing", "twice", "received − /metrics")
_USUAL: Final = (5000, 10, 5)


def beside_sse(ways: Sequence[str], connections: int | None) -> Callable[[], list[Row]]:
    """The benchmark of these; those of the same work share one measure of SSE."""

    def transports() -> list[Row]:
        """One event to many connections, CPU and memory of the node, beside SSE."""
        rows = list[Row]()
        for work in (_USUAL, *_WORK.values()):
            same = [way for way in WAYS if way in ways and _WORK.get(way, _USUAL) == work]
            if same:
                count, rate, seconds = work
                rows += _pair(["sse", *same], connections or count, rate, seconds)
        return rows

    return transports


def _pair(ways: Sequence[str], connections: int, rate: int, seconds: int) -> list[Row]:
    rows = [_row(way, connections, rate, seconds) for way in ways]
    for row in rows:
        for title in ("µs per delivery", "kB each", "bytes per event"):
            row[f"{title}, × SSE"] = row[title] / rows[0][title]
    return rows


def _row(way: str, connections: int, rate: int, seconds: int) -> Row:
    (grpc_port,) = free_ports(1)
    settings = {"HUB_PUBLIC__GRPC_PORT": str(grpc_port)} if way == "grpc" else {}
    with servers.hub(**settings) as node:
        port = grpc_port if way == "grpc" else node.port
        target = msgspec.structs.replace(node, stream_path=_PATHS[way], port=port)
        empty_kb = resident_kb(target.pid)
        found = broadcast(target, connections, rate, seconds, way=way)
    return {
        "transport": way,
        "connections": connections,
        "µs per delivery": found["µs per delivery"],
        "kB each": (found.pop("MB") * 1024 - empty_kb) / connections,
        "bytes per event": found["bytes per event"],
        **{title: found[title] for title in (*_COUNTS, "p50 ms", "p99 ms")},
    }
