"""scripts/bench [name …]: prints a table for each and writes all to a JSON file."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

from bench.cases import CASES, Row
from bench.machine import BUILT


def main() -> None:
    """Reads the command line and runs what it names."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--json", type=Path, default=BUILT / "latest.json")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in CASES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(CASES)}")
    results: dict[str, object] = {
        "when": time.strftime("%FT%TZ", time.gmtime()),
        "python": platform.python_version(),
    }
    for name in args.names or CASES:
        rows = CASES[name]()
        print(f"\n{name}: {(CASES[name].__doc__ or '').strip()}")
        print_table(rows)
        results[name] = rows
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten to {args.json}")


def print_table(rows: list[Row]) -> None:
    """Columns as wide as what is in them."""
    titles = list(rows[0])
    texts = [[str(row.get(title, "")) for title in titles] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *texts, strict=True)]
    for line in (titles, *texts):
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
