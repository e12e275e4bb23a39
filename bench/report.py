"""The table of docs/concepts/performance.md: work, hub, other servers, target, met."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.load import Row
from bench.machine import ROOT

PAGE: Final = ROOT / "docs" / "concepts" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images"
_BEGIN: Final = "<!-- written by scripts/bench table --docs -->"
_END: Final = "<!-- end of the written part -->"
_QUIET_LOAD: Final = 1.0
_MAX_DELAY_MS: Final = 200  # the last bucket of sse_load


class Line(msgspec.Struct, frozen=True):
    """A line of the table. peers: other servers in the same run, and lower bounds."""

    work: str
    hub: str
    peers: str
    target: str
    met: bool


def build_lines(results: Mapping[str, Any]) -> list[Line]:
    """Return the lines for all benchmarks of the results. What did not run has no line."""
    lines: list[Line] = []
    for name, build in _BUILDERS.items():
        rows = results.get(name)
        if rows:
            lines += build(rows)
    return lines


def _fanout(rows: Sequence[Row]) -> Iterator[Line]:
    servers = {row["server"]: row for row in rows}
    hub = servers["hub"]
    bounds = {"Nchan": 1.3, "Mercure": 1.9, "Centrifugo, memory": 1.9, "Centrifugo, Redis": 1.9}
    peers = {name: row for name, row in servers.items() if name in bounds}
    yield Line(
        "one event to 5,000 connections, × the CPU of the floor",
        _number(hub["× floor"]),
        _join(f"{name} {_number(row['× floor'])}" for name, row in peers.items()),
        "≤ 1.5; 1.3 × cheaper than Nchan, 1.9 × than Mercure and Centrifugo",
        hub["× floor"] <= 1.5
        and all(row["× floor"] >= bounds[name] * hub["× floor"] for name, row in peers.items()),
    )


def _tokens(rows: Sequence[Row]) -> Iterator[Line]:
    cost, delay = "µs per delivery", "p99 ms"
    slower, slower_peers = _split(rows, work="5000/s")
    hub, peers = _split(rows, work="10000/s")
    slower_costs = {row["server"]: _number(row[cost]) for row in slower_peers}
    yield Line(
        "tokens to 2,000 users at 10,000/s (at 5,000/s), µs of node CPU for each",
        f"{_number(hub[cost])} ({_number(slower[cost])})",
        _join(
            f"{row['server']} {_number(row[cost])} ({slower_costs[row['server']]})" for row in peers
        ),
        "≤ 30; 1.3 × cheaper than Centrifugo",
        hub[cost] <= 30 and all(row[cost] >= 1.3 * hub[cost] for row in peers),
    )
    yield Line(
        "tokens at 10,000/s, p99 of the delay in ms",
        _delay(hub[delay]),
        _join(f"{row['server']} {_delay(row[delay])}" for row in peers),
        "≤ 5; nothing lost or out of order",
        hub[delay] <= 5 and not hub["missing"] and not hub["out of order"],
    )
    if not any(row["work"] == "backlog" for row in rows):
        return
    hub, _ = _split(rows, work="backlog")
    yield Line(
        "a backlog of tokens, delivered by one node in a second",
        _number(hub["delivered/s"]),
        "",
        "≥ 60,000",
        hub["delivered/s"] >= 60_000,
    )


def _idle(rows: Sequence[Row]) -> Iterator[Line]:
    hub, peers = _split(rows)
    memory, cost = "kB each", "heartbeats, % of a core"
    yield Line(
        "memory of an idle connection, kB",
        _number(hub[memory]),
        _join(f"{row['server']} {_number(row[memory])}" for row in peers),
        "≤ 5",
        hub[memory] <= 5,
    )
    yield Line(
        f"heartbeats of 15,000 connections, every {hub['heartbeat every s']:.0f} s, % of a core",
        _number(hub[cost]),
        _join(
            f"{row['server']} {_number(row[cost])} (every {row['heartbeat every s']:.0f} s)"
            for row in peers
        ),
        "≤ 2",
        hub[cost] <= 2,
    )


def _reconnect(rows: Sequence[Row]) -> Iterator[Line]:
    hub, peers = _split(rows)
    seconds, cost = "recovered in s", "µs of CPU each"
    yield Line(
        "10,000 clients return, each 20 events behind: seconds until all have them",
        _number(hub[seconds]),
        _join(f"{row['server']} {_number(row[seconds])}" for row in peers),
        "≤ 5, and not later than Centrifugo; nothing lost or twice",
        0 <= hub[seconds] <= 5
        and all(hub[seconds] <= row[seconds] for row in peers if row[seconds] >= 0)
        and not hub["missing"]
        and not hub["duplicates"],
    )
    yield Line(
        "the same, µs of CPU for each client",
        _number(hub[cost]),
        _join(f"{row['server']} {_number(row[cost])}" for row in peers),
        "≤ 500",
        hub[cost] <= 500,
    )


def _publish(rows: Sequence[Row]) -> Iterator[Line]:
    cost, rate = "µs per event", "events/s"
    alone = next(row for row in rows if row["server"] == "aiohttp alone")
    hub, peers = _split(rows, publishing="single events")
    peers = [row for row in peers if row is not alone]
    yield Line(
        "`POST /publish`, one event each, µs of CPU",
        _number(hub[cost]),
        _join(
            [f"aiohttp alone {_number(alone[cost])}"]
            + [f"{row['server']} {_number(row[cost])}" for row in peers]
        ),
        "≤ 1.3 × aiohttp alone; aim: Centrifugo's",
        hub[cost] <= 1.3 * alone[cost],
    )
    hub, peers = _split(rows, publishing="batches of 100")
    yield Line(
        "batches of 100, µs of CPU for each event",
        _number(hub[cost]),
        _join(f"{row['server']} {_number(row[cost])}" for row in peers),
        "≤ 16; ≤ 0.6 × Centrifugo",
        hub[cost] <= 16 and all(hub[cost] <= 0.6 * row[cost] for row in peers),
    )
    yield Line(
        "batches of 100, events in a second",
        _number(hub[rate]),
        _join(f"{row['server']} {_number(row[rate])}" for row in peers),
        "≥ 60,000",
        hub[rate] >= 60_000,
    )


def _broker(rows: Sequence[Row]) -> Iterator[Line]:
    cost = "broker µs per event"
    for per_call, limit in ((1, 22), (64, 13)):
        same = {row["server"]: row[cost] for row in rows if row["events in a call"] == per_call}
        others = [f"a minimal script {_number(same['minimal script'])}"]
        others += [
            f"{name.replace(', over HTTP', '')} {_number(value)} over HTTP"
            for name, value in same.items()
            if name not in ("minimal script", "hub")
        ]
        centrifugo = same.get("Centrifugo, Redis")
        yield Line(
            "µs of broker CPU for each event, "
            + ("one in a call" if per_call == 1 else f"{per_call} in a call"),
            _number(same["hub"]),
            _join(others),
            f"≤ {limit}, and less than Centrifugo",
            same["hub"] <= limit and (centrifugo is None or same["hub, over HTTP"] <= centrifugo),
        )


def _relay(rows: Sequence[Row]) -> Iterator[Line]:
    direct, hub = rows
    cost, first = "µs of worker CPU per delta", "first delta p50 ms"
    yield Line(
        "relay of 100 answers, µs of worker CPU for each delta", _number(hub[cost]), "", "≤ 35",
        hub[cost] <= 35,
    )  # fmt: skip
    yield Line(
        "the same, p50 of the first delta in ms",
        _number(hub[first]),
        f"straight from the upstream {_number(direct[first])}",
        "at most 5 later",
        hub[first] <= direct[first] + 5,
    )


def _start(rows: Sequence[Row]) -> Iterator[Line]:
    seconds = {row["what"]: row["s"] for row in rows}
    alone = f"Python alone {_number(seconds['python alone'])}"
    for what, title, limit in (
        ("hub dev, ready", "`hub dev` is ready, s", 1.5),
        ("import hub", "`import hub`, s", 0.3),
    ):
        yield Line(title, _number(seconds[what]), alone, f"≤ {limit}", seconds[what] <= limit)


_BUILDERS: Final[dict[str, Callable[[Sequence[Row]], Iterator[Line]]]] = {
    "fanout": _fanout,
    "tokens": _tokens,
    "idle": _idle,
    "reconnect": _reconnect,
    "publish": _publish,
    "broker": _broker,
    "relay": _relay,
    "start": _start,
}


def _split(rows: Sequence[Row], **where: str) -> tuple[Row, list[Row]]:
    """Return the row of the hub and those of other servers, among rows with these values."""
    same = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
    hub = next(row for row in same if row["server"] == "hub")
    return hub, [row for row in same if "hub" not in row["server"]]


def _join(texts: Iterator[str] | list[str]) -> str:
    return "; ".join(texts)


def _number(value: float) -> str:
    """Return a number with three digits or all digits before the point."""
    if value < 0:
        return "not all"  # what a load generator says if it waited in vain
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _delay(ms: float) -> str:
    return _number(ms) if ms < _MAX_DELAY_MS else f"more than {_MAX_DELAY_MS}"


def format_table(results: Mapping[str, Any]) -> str:
    """Return the Markdown of the table, after a sentence on the run."""
    peers = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    runs = f"medians of {results['runs']} runs" if results["runs"] > 1 else "one run"
    busy = ""
    if results["load"] > _QUIET_LOAD:
        busy = f" Other work ran on the machine when it began (load average {results['load']})."
    text = (
        f"Run of {results['when'][:10]}, {runs}: {results['machine']}, "
        f"Python {results['python']}. Other servers: {peers or 'none'}.{busy}\n\n"
        "| work | hub | other servers and limits, same run | target | met |\n"
        "|---|--:|---|---|---|\n"
    )
    for line in build_lines(results):
        met = "yes" if line.met else "**no**"
        peers = line.peers or "–"
        text += f"| {line.work} | {line.hub} | {peers} | {line.target} | {met} |\n"
    return text


def write_table(results: Mapping[str, Any], page: Path = PAGE) -> None:
    """Replace the written part of the page. Raise ValueError if the page has none."""
    text = page.read_text()
    written = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    part = f"{_BEGIN}\n{format_table(results)}{_END}"
    replaced, count = written.subn(lambda _: part, text)
    if count != 1:
        raise ValueError(f"{page} must have one part between {_BEGIN!r} and {_END!r}")
    page.write_text(replaced)
