"""scripts/licences.py SBOM: writes each component's licence into the CycloneDX file, and ends with
1 and a sentence for each whose licence is unknown or not allowed.

uv's export lists what uv.lock installs with the hub but knows no licences; the packages do.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

# Permissive: they ask for their notice to be kept, and nothing of who uses the hub.
ALLOWED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # asks for changes of its own files alone
        "PSF-2.0",
        "Unlicense",
    }
)
# What packages without a License-Expression write, as SPDX has it.
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
# Not installed here: other systems or older Pythons want them.
ELSEWHERE: Final = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause"}


def licence_of(package: str) -> str | None:
    """Its SPDX expression; None when it says nothing that is known."""
    try:
        said = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE.get(package)
    if expression := said.get("License-Expression"):
        return str(expression)
    classifiers = [each for each in said.get_all("Classifier") or () if each.startswith("License")]
    named = [said.get("License") or "", *(each.rpartition(" :: ")[2] for each in classifiers)]
    spdx = (SPDX.get(name, name) for name in named)
    return next((name for name in spdx if name in ALLOWED), None)


def is_allowed(expression: str) -> bool:
    """One side of each OR has nothing but allowed licences; AND binds tighter."""
    while "(" in (before := expression):  # the innermost, with its verdict in its place
        expression = re.sub(
            r"\(([^()]*)\)", lambda inner: "MIT" if is_allowed(inner[1]) else "refused", before
        )
        if expression == before:
            return False  # one that is not closed
    sides = re.split(r"\s+OR\s+", expression.strip())
    return any(set(re.split(r"\s+(?:AND|WITH)\s+", side)) <= ALLOWED for side in sides)


def faults(bill: dict[str, Any]) -> list[str]:
    """Puts the licences into the bill; a sentence for each component that must not be shipped."""
    found = []
    for component in bill["components"]:
        name, licence = component["name"], licence_of(component["name"])
        if licence is None:
            found.append(
                f"{name}: its licence is not known; look, and add it to scripts/licences.py"
            )
        elif not is_allowed(licence):
            found.append(f"{name}: {licence} is not among the allowed licences")
        else:
            component["licenses"] = [{"expression": licence}]
    return found


def main(file: Path) -> int:
    """Completes the bill in the file, unless something in it must not be shipped."""
    bill = json.loads(file.read_text())
    for fault in (found := faults(bill)):
        print(fault, file=sys.stderr)
    if not found:
        file.write_text(json.dumps(bill, indent=2) + "\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
