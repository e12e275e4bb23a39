"""Run the tests of tests/pages/*.test.mjs with Node.js, without the process of `node --test`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("module", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_module(module: str) -> None:
    """Every test in this file passes."""
    node = shutil.which("node")
    if node is None:
        missing("node")
    done = subprocess.run(
        [node, str(FOLDER / module)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
