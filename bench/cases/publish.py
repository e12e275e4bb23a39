"""P5: what backends publish over HTTP."""

from __future__ import annotations

from bench import servers
from bench.load import Row, post
from bench.machine import cpu_seconds, profiled
from bench.servers import Target

_ITEMS = (f'{{"to":{{"user":"u{n}"}},"data":"T=%T;N=%N;"}}' for n in range(100))
_MANY = f"[{','.join(_ITEMS)}]"


def publish(seconds: int = 5) -> list[Row]:
    """P5: POST /publish and /publish/batch, as fast as they are answered."""
    each = ("-U", "2000", "-c", "64")
    with servers.aiohttp_post() as target:
        rows = [_row(target, "nothing: aiohttp alone", 1, seconds, *each, body='{"data":1}')]
    with servers.hub() as target:
        rows.append(_row(target, "one event each", 1, seconds, *each))
        batch = {"path": "/publish/batch", "body": _MANY}
        rows.append(_row(target, "batches of 100", 100, seconds, "-c", "4", **batch))
    for row in rows:
        row["× aiohttp"] = row["µs per event"] / rows[0]["µs per event"]
    return rows


def _row(
    target: Target,
    name: str,
    events: int,
    seconds: int,
    *words: str,
    path: str = "",
    body: str = "",
) -> Row:
    with profiled(target.pid, f"publish {events}", seconds):
        before = cpu_seconds(target.pid)
        posts = post(target, *words, "-d", str(seconds), path=path, body=body)
        used = cpu_seconds(target.pid) - before
    return {
        "publishing": name,
        "events/s": posts["per_s"] * events,
        "µs per event": used / (posts["ok"] * events) * 1e6,
        "refused": posts["bad"],
        "mean ms": posts["mean_ms"],
        "server's core busy, %": used / seconds * 100,
    }
