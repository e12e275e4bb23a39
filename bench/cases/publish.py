"""P5: what backends publish over HTTP."""

from __future__ import annotations

from bench import servers
from bench.load import Row, post
from bench.machine import cpu_seconds, profiled

_ITEMS = (f'{{"to":{{"user":"u{n}"}},"data":"T=%T;N=%N;"}}' for n in range(100))
_MANY = f"[{','.join(_ITEMS)}]"


def publish(seconds: int = 5) -> list[Row]:
    """P5: POST /publish and /publish/batch, as fast as they are answered."""
    rows = []
    with servers.hub() as target:
        for name, events, path, body, words in (
            ("one event each", 1, "", "", ("-U", "2000", "-c", "64")),
            ("batches of 100", 100, "/publish/batch", _MANY, ("-c", "4")),
        ):
            with profiled(target.pid, f"publish-{events}", seconds):
                before = cpu_seconds(target.pid)
                posts = post(target, *words, "-d", str(seconds), path=path, body=body)
                used = cpu_seconds(target.pid) - before
            rows.append(
                {
                    "publishing": name,
                    "events/s": posts["per_s"] * events,
                    "µs per event": used / (posts["ok"] * events) * 1e6,
                    "refused": posts["bad"],
                    "mean ms": posts["mean_ms"],
                    "node's core busy, %": used / seconds * 100,
                }
            )
    return rows
