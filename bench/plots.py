"""Draw the plots of docs/concepts/performance.md from the rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

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
    bars = axes.barh(names, costs, color=[_HUB if name == "hub" else _OTHERS for name in names])
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


PLOTS: dict[str, Callable[[Sequence[Row], Path], None]] = {
    "fanout": plot_fanout,
    "growth": plot_growth,
}
