"""Add the licence of each component to a CycloneDX file: scripts/licences.py SBOM.

Exit with 1, and print a sentence for each component whose licence is unknown or not allowed.
`uv export` lists the locked dependencies without licences; the metadata of the installed packages
has them.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

# Permissive licences: they require only that their notice is kept.
ALLOWED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # requires publication only of changes to its own files
        "PSF-2.0",
        "Unlicense",
    }
)
# Values of the older field License or of a classifier, and their SPDX expressions.
SPDX: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
# Dependencies on other systems or older Pythons, which are not installed here.
ELSEWHERE: Final = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}


def find_licence(package: str) -> str | None:
    """Return the SPDX expression of an installed package, or None if it is unknown."""
    try:
        fields = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE.get(package)
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [
        name for name in fields.get_all("Classifier") or () if name.startswith("License")
    ]
    named = [fields.get("License") or "", *(each.rpartition(" :: ")[2] for each in classifiers)]
    spdx = (SPDX.get(name, name) for name in named)
    return next((name for name in spdx if name in ALLOWED), None)


def is_allowed(expression: str) -> bool:
    """Return whether one alternative of the expression has only allowed licences.

    AND binds tighter than OR. Parentheses are replaced by a licence with the same result, the
    innermost first.
    """
    while "(" in (before := expression):
        expression = re.sub(
            r"\(([^()]*)\)", lambda inner: "MIT" if is_allowed(inner[1]) else "refused", before
        )
        if expression == before:
            return False  # unbalanced parentheses
    alternatives = re.split(r"\s+OR\s+", expression.strip())
    return any(set(re.split(r"\s+(?:AND|WITH)\s+", each)) <= ALLOWED for each in alternatives)


def add_licences(bill: dict[str, Any]) -> list[str]:
    """Add the licences to the bill of materials.

    Return a sentence for each component that must not be shipped.
    """
    problems = []
    for component in bill["components"]:
        name, licence = component["name"], find_licence(component["name"])
        if licence is None:
            problems.append(
                f"{name}: the licence is unknown; find it and add it to scripts/licences.py"
            )
        elif not is_allowed(licence):
            problems.append(f"{name}: the licence {licence} is not allowed")
        else:
            component["licenses"] = [{"expression": licence}]
    return problems


def main(file: Path) -> int:
    """Add the licences to the file; leave it unchanged if a component must not be shipped."""
    bill = json.loads(file.read_text())
    for problem in (problems := add_licences(bill)):
        print(problem, file=sys.stderr)
    if not problems:
        file.write_text(json.dumps(bill, indent=2) + "\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
