"""P1 and P7: one event to many connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench import servers
from bench.load import Row, delivered, holding, post
from bench.machine import cpu_seconds, finished, profiled, resident_kb
from bench.servers import Target


def fanout(connections: int = 5000) -> list[Row]:
    """P1: one event to 5,000 connections, CPU of the server per delivery, beside the peers."""
    starts: list[Callable[[], AbstractContextManager[Target]]] = [servers.floor, servers.hub]
    if servers.has_nchan():
        starts.append(servers.nchan)
    starts += [servers.aiohttp_sse_queue, servers.sse_starlette_queue]
    rows = []
    for start in starts:
        with start() as target:
            rate = 2 if "queues" in target.name else 10
            rows.append({"server": target.name, **broadcast(target, connections, rate)})
    _add_ratios(rows)
    return rows


def growth(sizes: tuple[int, ...] = (100, 1000, 5000, 15_000)) -> list[Row]:
    """P7: the same from 100 to 15,000 connections: the cost of a delivery should stay flat."""
    rows = []
    for size in sizes:
        rate = max(2, min(200, 50_000 // size))
        pair = []
        for start in (servers.floor, servers.hub):
            with start() as target:
                found = broadcast(target, size, rate)
                pair.append({"server": f"{target.name}, {size}", "connections": size, **found})
        _add_ratios(pair)
        rows += pair
    return rows


def broadcast(
    target: Target, connections: int, rate: int, seconds: int = 5, *, way: str = "sse"
) -> Row:
    """Events at that rate to all of so many connections, which stream in that way."""
    target = target.to_all()
    with holding(target, connections, way=way) as holder:
        cold = target.publish_body.replace("T=%T;N=%N;", "not counted")
        post(target, "-R", str(rate), "-d", "1", body=cold)
        time.sleep(0.5)
        with profiled(target.pid, target.name, seconds):
            before = cpu_seconds(target.pid)
            posts = post(target, "-R", str(rate), "-d", str(seconds))
            time.sleep(1)
            used = cpu_seconds(target.pid) - before
        memory = resident_kb(target.pid)
        counted = delivered(target) if target.name.startswith("hub") else None
        holder.terminate()
        ledger = finished(holder)
    row = {
        "µs per delivery": used / max(1, posts["ok"] * connections) * 1e6,
        "events": posts["ok"],
        "missing": ledger["gaps"],
        "twice": ledger["dups"],
        "p50 ms": ledger["p50_ms"],
        "p99 ms": ledger["p99_ms"],
        "p99.9 ms": ledger["p999_ms"],
        "MB": memory / 1024,
        "bytes per event": ledger["bytes"] / max(1, ledger["events"]),
    }
    if counted is not None:
        opened = 0 if way == "poll" else connections  # hub.open is nobody's event
        row["received − /metrics"] = ledger["events"] - opened - counted
    return row


def _add_ratios(rows: list[Row]) -> None:
    floor = rows[0]["µs per delivery"]
    hub = next(row for row in rows if str(row["server"]).startswith("hub"))["µs per delivery"]
    for row in rows:
        row["× floor"] = row["µs per delivery"] / floor
        row["× hub"] = row["µs per delivery"] / hub
