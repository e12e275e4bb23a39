"""Run benchmarks; print tables, write the results as JSON and, on request, as plots."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import machine, report
from bench.cases import CASES, TARGETS
from bench.cases.page import measure_page
from bench.cases.rehearsal import rehearse
from bench.cases.transports import TRANSPORTS, compare_with_sse
from bench.ledger import find_failures
from bench.load import Row
from bench.machine import OUTPUT
from bench.peers import programs
from bench.plots import PLOTS, plot_peers
from bench.servers import has_nchan, read_nchan_version

_RUNS: Final = 3
_LONG: Final = ("rehearsal", "page")  # they run once, and only if they are named


def main() -> None:
    """Parse the command line and run the benchmarks that it names."""
    parser = build_parser()
    args = parser.parse_args()
    if args.names == ["table"]:
        show_table(json.loads(args.json.read_text()), write=args.docs)
        return
    cases = {**CASES, "rehearsal": rehearse(args.connections), "page": measure_page(args.answers)}
    unknown = [name for name in args.names if name not in cases]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(cases)}, table")
    if args.transport:
        if args.names not in ([], ["fanout"]):
            parser.error("--transport can only be used with the benchmark fanout")
        args.names, cases = (
            ["transports"],
            {"transports": compare_with_sse(args.transport, args.connections)},
        )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if args.profile:
        machine.PROFILES.append("all")
    programs.use_programs(dict(args.peer))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end all processes on the way out
    results, failures = run_all({name: cases[name] for name in args.names or TARGETS}, args)
    if report.build_lines(results):
        show_table(results, write=args.docs)
    print(f"\nresults written to {args.json}")
    if failures:
        sys.exit("\n".join(failures))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"any of {', '.join(CASES)}, {', '.join(_LONG)} (default: those with a target, "
        f"{', '.join(TARGETS)}); table: measure nothing, and print the table from --json",
    )
    parser.add_argument(
        "--runs",
        type=int,
        help=f"how often each one runs; the median is printed (default: 3; {', '.join(_LONG)}: 1)",
    )
    parser.add_argument("--json", type=Path, default=OUTPUT / "latest.json", metavar="FILE")
    parser.add_argument(
        "--docs",
        action="store_true",
        help="write the table of the targets into docs/concepts/performance.md, with its plots",
    )
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="write bench-NAME.svg into this folder"
    )
    parser.add_argument(
        "--transport", action="append", choices=TRANSPORTS, default=[], metavar="NAME",
        help=f"with fanout: compare this transport with SSE ({', '.join(TRANSPORTS)}); repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--connections",
        type=int,
        help="with --transport or rehearsal: the number of connections",
    )
    parser.add_argument(
        "--answers", type=int, help="with page: the number of answers (default: 12)"
    )
    parser.add_argument(
        "--peer", action="append", type=programs.parse_peer, default=[], metavar="NAME=PATH",
        help=f"measure this program, too ({', '.join(programs.NAMES)}); one that is on the PATH is "
        "measured anyway; repeatable",
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="record flame graphs with py-spy")
    return parser


def run_all(
    cases: dict[str, Callable[[], list[Row]]], args: argparse.Namespace
) -> tuple[dict[str, Any], list[str]]:
    """Run benchmarks, print their tables, and write what is known so far after each of them.

    Return the results by name, and a sentence for each failure.
    """
    peers, took, failures = read_peer_versions(), dict[str, float](), list[str]()
    results: dict[str, Any] = {
        "when": time.strftime("%FT%TZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "runs": args.runs or _RUNS,
        "load": round(os.getloadavg()[0], 1),
        "peers": peers,
        "seconds": took,
    }
    print("other servers:", ", ".join(map(" ".join, peers.items())) or "none", flush=True)
    for name, case in cases.items():
        started = time.monotonic()
        runs = args.runs or (1 if name in _LONG else _RUNS)
        rows, errors = run_repeatedly(case, name, runs)
        took[name] = round(time.monotonic() - started, 1)
        print(f"\n{name}: {(case.__doc__ or '').strip().splitlines()[0]}")
        print_table(rows)
        results[name] = rows
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        if args.plots is not None and name in PLOTS and rows:
            PLOTS[name](rows, args.plots / f"bench-{name}.svg")
        failures += [*errors, *(f"{name}: {failure}" for failure in find_failures(rows))]
    return results, failures


def show_table(results: dict[str, Any], *, write: bool) -> None:
    """Print the table of the targets; on request, write it and the plots into the documents."""
    print(f"\n{report.format_table(results)}")
    if write:
        write_docs(results)


def write_docs(results: dict[str, Any]) -> None:
    """Write the table and the plots of the page on performance."""
    report.write_table(results)
    for name, plot in PLOTS.items():
        if results.get(name):
            plot(results[name], report.IMAGES / f"bench-{name}.svg")
    plot_peers(results, report.IMAGES / "bench-peers.svg")


def read_peer_versions() -> dict[str, str]:
    """Return the servers of others that this run measures, with their versions."""
    versions = {"Nchan": read_nchan_version()} if has_nchan() else {}
    return versions | {
        name.capitalize(): program.version for name, program in programs.PROGRAMS.items()
    }


def run_repeatedly(
    case: Callable[[], list[Row]], name: str, runs: int
) -> tuple[list[Row], list[str]]:
    """Run a benchmark several times.

    Return its rows with the median of each number, and a sentence for each run that failed. Such a
    run does not count, and does not end the others.
    """
    tables: list[list[Row]] = []
    errors = []
    for run in range(1, runs + 1):
        started = time.monotonic()
        try:
            tables.append(case())
        except Exception as error:  # noqa: BLE001 - what the others have measured is kept
            traceback.print_exc()
            errors.append(f"{name}, run {run} of {runs}: {type(error).__name__}: {error}")
        seconds = time.monotonic() - started
        print(
            f"{time.strftime('%T')} {name}: run {run} of {runs}, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return [_merge(same_rows) for same_rows in zip(*tables, strict=True)], errors


def _merge(rows: Sequence[Row]) -> Row:
    merged = dict(rows[0])
    for title, value in merged.items():
        if isinstance(value, int | float):
            merged[title] = _median([row[title] for row in rows])
    return merged


def _median(values: list[float]) -> float:
    middle = statistics.median(values)
    digits = 2 if abs(middle) < 10 else 1 if abs(middle) < 100 else 0
    return round(middle, digits) if digits else round(middle)


def print_table(rows: list[Row]) -> None:
    """Print the rows as a table with right-aligned columns."""
    titles = list(rows[0]) if rows else []
    texts = [[str(row.get(title, "")) for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *texts, strict=True)]
    for line in (titles, *texts):
        print(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
