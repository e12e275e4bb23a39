"""P5: publish over HTTP, as backends do."""

from __future__ import annotations

from bench import load, servers
from bench.load import Row
from bench.machine import cpu_seconds, profile
from bench.servers import Target

_ITEMS = (f'{{"to":{{"user":"u{n}"}},"data":"T=%T;N=%N;"}}' for n in range(100))
_BATCH = f"[{','.join(_ITEMS)}]"


def publish(seconds: int = 5) -> list[Row]:
    """P5: POST /publish and /publish/batch, each request as soon as the last one is answered."""
    options = ("-U", "2000", "-c", "64")
    with servers.run_aiohttp_post() as target:
        rows = [_row(target, "no event: aiohttp alone", 1, seconds, *options, body='{"data":1}')]
    with servers.run_hub() as target:
        rows.append(_row(target, "single events", 1, seconds, *options))
        batch = {"path": "/publish/batch", "body": _BATCH}
        rows.append(_row(target, "batches of 100", 100, seconds, "-c", "4", **batch))
    for row in rows:
        row["× aiohttp"] = row["µs per event"] / rows[0]["µs per event"]
    return rows


def _row(
    target: Target,
    name: str,
    events: int,
    seconds: int,
    *options: str,
    path: str = "",
    body: str = "",
) -> Row:
    with profile(target.pid, f"publish {events}", seconds):
        before = cpu_seconds(target.pid)
        posts = load.publish(target, *options, "-d", str(seconds), path=path, body=body)
        used = cpu_seconds(target.pid) - before
    return {
        "publishing": name,
        "events/s": posts["per_s"] * events,
        "µs per event": used / (posts["ok"] * events) * 1e6,
        "refused": posts["bad"],
        "mean ms": posts["mean_ms"],
        "server core, %": used / seconds * 100,
    }
