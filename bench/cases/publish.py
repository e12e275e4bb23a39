"""P5: publish over HTTP, as backends do."""

from __future__ import annotations

from bench import load, servers
from bench.load import Row, check_delivery
from bench.machine import cpu_seconds, profile
from bench.peers.centrifugo import run_centrifugo
from bench.peers.programs import PROGRAMS
from bench.servers import Target, read_broker_pid

_SINGLE: tuple[str, ...] = ("-U", "2000", "-c", "64")
_BATCH: tuple[str, ...] = ("-U", "2000", "-c", "4")
_PER_BATCH = 100


def publish(seconds: int = 3) -> list[Row]:
    """P5: POST one event or a batch, each request as soon as the last one is answered.

    The server has one processor; its broker and the publishers share the other one.
    """
    with servers.run_aiohttp_post() as target:
        rows = [_row(target, 0, seconds, body='{"data":1}')]
    with servers.run_hub() as target:
        rows += [_row(target, batch, seconds) for batch in (0, _PER_BATCH)]
    if "centrifugo" in PROGRAMS:
        with servers.run_broker() as url, run_centrifugo(url) as target:
            check_delivery(target)
            rows += [_row(target, batch, seconds) for batch in (0, _PER_BATCH)]
    for row in rows:
        row["× aiohttp"] = row["µs per event"] / rows[0]["µs per event"]
    return rows


def _row(target: Target, batch: int, seconds: int, *, body: str = "") -> Row:
    events, options = max(1, batch), _BATCH if batch else _SINGLE
    broker = read_broker_pid(target.broker_url) if target.broker_url else None
    load.publish(target, *options, "-d", "1", batch=batch, body=body)  # to warm up
    with profile(target.pid, f"publish {events}", seconds):
        before, broker_before = cpu_seconds(target.pid), cpu_seconds(broker) if broker else 0.0
        posts = load.publish(target, *options, "-d", str(seconds), batch=batch, body=body)
        used = cpu_seconds(target.pid) - before
        broker_used = cpu_seconds(broker) - broker_before if broker else 0.0
    count = max(1, posts["ok"] * events)
    return {
        "server": target.name,
        "publishing": f"batches of {batch}" if batch else "single events",
        "events/s": posts["per_s"] * events,
        "µs per event": used / count * 1e6,
        "broker µs per event": broker_used / count * 1e6,
        "refused": posts["bad"],
        "mean ms": posts["mean_ms"],
        "server core, %": used / seconds * 100,
    }
