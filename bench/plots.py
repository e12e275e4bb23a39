"""Draw the plots of docs/concepts/performance.md from the rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.load import Row

_HUB: Final = "#0b6e4f"
_OTHERS: Final = "#9aa5a0"

mpl.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",  # keep text as text
        "svg.hashsalt": "hub",  # the same rows give the same file
    }
)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})


def plot_fanout(rows: Sequence[Row], path: Path) -> None:
    """Draw one bar per server."""
    figure = Figure(figsize=(7, 0.5 * len(rows) + 1))
    axes = figure.subplots()
    names = [str(row["server"]) for row in rows]
    costs = [row["µs per delivery"] for row in rows]
    bars = axes.barh(names, costs, color=[_colour(name) for name in names])
    labels = [f"{row['µs per delivery']:.1f} µs, {row['× floor']:.2f} × floor" for row in rows]
    axes.bar_label(bars, labels, padding=4)
    axes.set_xlim(0, max(costs) * 1.35)
    axes.invert_yaxis()
    axes.set_xlabel("server CPU per delivery: one event to 5,000 connections")
    _save(figure, path)


def plot_growth(rows: Sequence[Row], path: Path) -> None:
    """Draw the cost of a delivery over the number of connections."""
    figure = Figure(figsize=(7, 3.4))
    axes = figure.subplots()
    for prefix, label, colour in (
        ("hub", "hub", _HUB),
        ("C send()", "C send() loop", _OTHERS),
    ):
        server_rows = [row for row in rows if str(row["server"]).startswith(prefix)]
        sizes = [row["connections"] for row in server_rows]
        axes.plot(
            sizes, [row["µs per delivery"] for row in server_rows], "o-", color=colour, label=label
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections")
    axes.set_ylabel("µs of CPU per delivery")
    axes.legend(frameon=False)
    _save(figure, path)


def plot_peers(results: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the CPU time of Centrifugo for each kind of work, as a multiple of the hub's."""
    bars = []
    for benchmark, column, label, where in _COMPARED:
        rows = [
            row
            for row in results.get(benchmark, ())
            if all(row.get(name) == value for name, value in where.items())
        ]
        costs = {row["server"]: row[column] for row in rows}
        hub = costs.get("hub, over HTTP", costs.get("hub"))
        if hub and "Centrifugo, Redis" in costs:
            bars.append((label, costs["Centrifugo, Redis"] / hub))
    if not bars:
        return
    figure = Figure(figsize=(7, 0.5 * len(bars) + 1))
    axes = figure.subplots()
    labels, ratios = [label for label, _ in bars], [ratio for _, ratio in bars]
    drawn = axes.barh(labels, ratios, color=_OTHERS)
    axes.bar_label(drawn, [f"{ratio:.2f} ×" for ratio in ratios], padding=4)
    axes.axvline(1, color=_HUB)
    axes.set_xlim(0, max(*ratios, 1) * 1.2)
    axes.invert_yaxis()
    axes.set_xlabel("Centrifugo's CPU, as a multiple of the hub's (the line)")
    _save(figure, path)


def _colour(server: str) -> str:
    return _HUB if server == "hub" else _OTHERS


# Benchmark, column, label and the values that the rows have.
_COMPARED: Final[tuple[tuple[str, str, str, Mapping[str, Any]], ...]] = (
    ("fanout", "µs per delivery", "one event to 5,000", {}),
    ("tokens", "µs per delivery", "tokens at 10,000/s", {"work": "10000/s"}),
    ("reconnect", "µs of CPU each", "a client returns", {}),
    ("publish", "µs per event", "publish, one each", {"publishing": "single events"}),
    ("publish", "µs per event", "publish, batches of 100", {"publishing": "batches of 100"}),
    ("broker", "broker µs per event", "broker, one in a call", {"events in a call": 1}),
    ("broker", "broker µs per event", "broker, 64 in a call", {"events in a call": 64}),
)

PLOTS: dict[str, Callable[[Sequence[Row], Path], None]] = {
    "fanout": plot_fanout,
    "growth": plot_growth,
}
