"""The table of the page on performance says what was measured and whether targets are met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.report import PAGE, build_lines, format_table, write_table

RESULTS: dict[str, Any] = {
    "when": "2026-12-01T09:45:00Z",
    "runs": 5,
    "load": 0.2,
    "machine": "Linux x86_64, 2 processors",
    "python": "3.11.7",
    "peers": {"Nchan": "1.3.6", "Centrifugo": "6.9.1"},
    "fanout": [
        {"server": "C send() loop", "× floor": 1.0},
        {"server": "hub", "× floor": 1.45},
        {"server": "Nchan", "× floor": 2.0},
        {"server": "Centrifugo, memory", "× floor": 3.1},
    ],
    "reconnect": [
        {"server": "hub", "recovered in s": 4.5, "µs of CPU each": 512, "missing": 0,
         "duplicates": 0},
        {"server": "Centrifugo, Redis", "recovered in s": 4.6, "µs of CPU each": 400},
    ],
}  # fmt: skip


def test_lines_of_what_was_measured() -> None:
    """Each measured benchmark has its lines, with the figures of the others beside the hub's."""
    lines = {line.work.partition(":")[0]: line for line in build_lines(RESULTS)}
    assert len(lines) == 3
    broadcast = lines["one event to 5,000 connections, × the CPU of the floor"]
    assert (broadcast.hub, broadcast.met) == ("1.45", True)
    assert broadcast.peers == "Nchan 2.00; Centrifugo, memory 3.10"
    assert lines["10,000 clients return, each 20 events behind"].met
    assert not lines["the same, µs of CPU for each client"].met


@pytest.mark.parametrize(
    ("changed", "peer"),
    [({"recovered in s": -1.0}, 4.6), ({"missing": 1}, 4.6), ({"duplicates": 1}, 4.6), ({}, 4.4)],
)
def test_target_that_is_not_met(changed: dict[str, float], peer: float) -> None:
    """A return that loses, repeats or never ends, or that is later than the other's, is not met."""
    hub, other = RESULTS["reconnect"]
    rows = [{**hub, **changed}, {**other, "recovered in s": peer}]
    assert not build_lines({"reconnect": rows})[0].met


def test_page_is_written_between_its_marks(tmp_path: Path) -> None:
    """The page of the documents has the marks; only what is between them changes, however often."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write_table(RESULTS, page)
    write_table(RESULTS, page)
    text = page.read_text()
    assert text.count(format_table(RESULTS)) == text.count("| met |") == 1
    assert text.startswith(PAGE.read_text().partition("<!-- written by")[0])
    page.write_text("no marks")
    with pytest.raises(ValueError, match="must have one part"):
        write_table(RESULTS, page)
