"""P1 and P7: broadcast one event to many connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from bench import servers
from bench.load import Row, check_delivery, count_delivered, hold_connections, publish
from bench.machine import cpu_seconds, profile, read_result, resident_kb, wait_for_result
from bench.peers.centrifugo import run_centrifugo
from bench.peers.mercure import run_mercure
from bench.peers.programs import PROGRAMS
from bench.servers import Target


def fanout(connections: int = 5000) -> list[Row]:
    """P1: one event to 5,000 connections: server CPU per delivery, the hub and other servers."""
    rows = []
    with servers.run_floor() as target:
        rows.append(_row(target, connections))
    with servers.run_hub() as target:
        rows.append(_row(target, connections))
    if servers.has_nchan():
        with servers.run_nchan() as target:
            rows.append(_row(target, connections))
    if "mercure" in PROGRAMS:
        with run_mercure() as target:
            check_delivery(target)
            rows.append(_row(target, connections))
    if "centrifugo" in PROGRAMS:
        for with_broker in (False, True):
            with ExitStack() as stack:
                url = stack.enter_context(servers.run_broker()) if with_broker else None
                target = stack.enter_context(run_centrifugo(url))
                check_delivery(target)
                rows.append(_row(target, connections))
    _add_ratios(rows)
    return rows


def libraries(connections: int = 5000) -> list[Row]:
    """P1: the same with the Python libraries that tutorials show, and a queue per connection."""
    starts: list[Callable[[], AbstractContextManager[Target]]] = [
        servers.run_floor,
        servers.run_hub,
        servers.run_aiohttp_sse,
        servers.run_sse_starlette,
    ]
    rows = []
    for start in starts:
        with start() as target:
            rows.append(_row(target, connections))
    _add_ratios(rows)
    return rows


def _row(target: Target, connections: int) -> Row:
    return {"server": target.name, **broadcast(target, connections, target.broadcast_rate)}


def growth(sizes: tuple[int, ...] = (100, 1000, 5000, 15_000)) -> list[Row]:
    """P7: one event to 100 to 15,000 connections: the cost per delivery should stay constant."""
    rows = []
    for size in sizes:
        rate = max(2, min(200, 50_000 // size))
        pair = []
        for start in (servers.run_floor, servers.run_hub):
            with start() as target:
                row = broadcast(target, size, rate)
                pair.append({"server": f"{target.name}, {size}", "connections": size, **row})
        _add_ratios(pair)
        rows += pair
    return rows


def broadcast(
    target: Target, connections: int, rate: int, seconds: int = 4, *, transport: str = "sse"
) -> Row:
    """Publish events to all connections at a rate (events a second); measure the server."""
    target = target.to_all()
    events = rate * seconds
    ends_itself = transport in ("sse", "ndjson")
    options = ("-E", str(events), "-K") if ends_itself else ()
    with hold_connections(target, connections, *options, transport=transport) as generator:
        warm_up = target.publish_body.replace(target.stamp, "not counted")
        publish(target, "-R", str(rate), "-d", "1", body=warm_up)
        time.sleep(0.5)
        with profile(target.pid, target.name, seconds):
            before = cpu_seconds(target.pid)
            posts = publish(target, "-R", str(rate), "-n", str(events), "-d", "60")
            if ends_itself:
                wait_for_result(generator)
            else:
                time.sleep(1)
            used = cpu_seconds(target.pid) - before
        memory = resident_kb(target.pid)
        delivered = count_delivered(target) if target.name.startswith("hub") else None
        generator.terminate()
        result = read_result(generator)
    due = posts["ok"] * connections
    row = {
        "µs per delivery": used / max(1, due) * 1e6,
        "events": posts["ok"],
        "missing": due - (result["stamps"] - result["dups"]) if ends_itself else result["gaps"],
        "duplicates": result["dups"],
        "p50 ms": result["p50_ms"],
        "p99 ms": result["p99_ms"],
        "p99.9 ms": result["p999_ms"],
        "MB": memory / 1024,
        "bytes per event": result["bytes"] / max(1, result["events"]),
    }
    if delivered is not None:
        opened = 0 if transport == "poll" else connections  # hub.open is not counted as delivered
        row["received − /metrics"] = result["events"] - opened - delivered
    return row


def _add_ratios(rows: list[Row]) -> None:
    floor = rows[0]["µs per delivery"]
    hub = next(row for row in rows if str(row["server"]).startswith("hub"))["µs per delivery"]
    for row in rows:
        row["× floor"] = row["µs per delivery"] / floor
        row["× hub"] = row["µs per delivery"] / hub
