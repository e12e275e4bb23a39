"""scripts/bench [name …]: tables on the terminal, JSON beside them, plots if asked for."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine
from bench.cases import CASES
from bench.cases.transports import WAYS, beside_sse
from bench.load import Row
from bench.machine import BUILT
from bench.plots import PLOTS


def main() -> None:
    """Reads the command line and runs what it names."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians are shown")
    parser.add_argument("--json", type=Path, default=BUILT / "latest.json", metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write bench-NAME.svg there")
    parser.add_argument(
        "--transport", action="append", choices=WAYS, default=[], metavar="WAY",
        help=f"fanout over another transport, beside SSE: {', '.join(WAYS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--connections", type=int, help="of --transport, where not as many as usual"
    )
    parser.add_argument("--profile", action="store_true", help="write flame graphs (py-spy)")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in CASES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(CASES)}")
    cases = dict(CASES)
    if args.transport:
        if args.names not in ([], ["fanout"]):
            parser.error("--transport goes with fanout alone")
        args.names, cases = (
            ["transports"],
            {"transports": beside_sse(args.transport, args.connections)},
        )
    BUILT.mkdir(parents=True, exist_ok=True)
    if args.profile:
        machine.PROFILES.append("all")
    results: dict[str, object] = {
        "when": time.strftime("%FT%TZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "runs": args.runs,
    }
    for name in args.names or cases:
        rows = medians(cases[name], args.runs)
        print(f"\n{name}: {(cases[name].__doc__ or '').strip().splitlines()[0]}")
        print_table(rows)
        results[name] = rows
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        if args.plots is not None and name in PLOTS:
            PLOTS[name](rows, args.plots / f"bench-{name}.svg")
    print(f"\nwritten to {args.json}")


def medians(case: Callable[[], list[Row]], runs: int) -> list[Row]:
    """The case's rows; of each number the median of all runs."""
    tables = [case() for _ in range(runs)]
    return [_merged(same) for same in zip(*tables, strict=True)]


def _merged(rows: Sequence[Row]) -> Row:
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
    """Columns as wide as what is in them."""
    titles = list(rows[0])
    texts = [[str(row.get(title, "")) for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *texts, strict=True)]
    for line in (titles, *texts):
        print(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
