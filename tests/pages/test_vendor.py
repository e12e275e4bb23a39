"""The libraries of the pages are those of npm, unchanged, and their licences are allowed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))  # a script imports the scripts beside it
try:
    from licences import is_allowed  # type: ignore[import-not-found, unused-ignore]
    from vendor import (  # type: ignore[import-not-found, unused-ignore]
        MANIFEST,
        PAGES,
        integrity_of,
    )
finally:
    sys.path.pop(0)

PACKAGES = json.loads(MANIFEST.read_text())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["package"])
def test_files_are_those_of_the_manifest(package: dict[str, Any]) -> None:
    """Every file has the hash of the manifest, its licence is allowed, and its text is there."""
    assert is_allowed(package["licence"])
    for file in package["files"]:
        assert integrity_of((PAGES / file["path"]).read_bytes()) == file["integrity"], file["path"]
    assert any(file["path"].endswith(".LICENSE") for file in package["files"])


def test_no_other_file_is_vendored() -> None:
    """The folder has no file that the manifest does not list."""
    listed = {file["path"] for package in PACKAGES for file in package["files"]}
    present = {f"vendor/{path.name}" for path in Path(PAGES / "vendor").iterdir()}
    assert present - listed == {"vendor/manifest.json"}
