"""What the process's own log says, and what it keeps to itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAILING = """
import logging, sys
import structlog
from hub import logs

logs.configure("info", sys.argv[1], "node")
try:
    token = "".join(["eyJ", "hbGci"])
    raise ValueError("broken")
except ValueError:
    structlog.get_logger().exception("own.failed")
    logging.getLogger("aiohttp").exception("theirs")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_show_no_values(form: str) -> None:
    """A token in a local variable stays there, in columns as in JSON, in lines of any library."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING, form], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Traceback") == done.stderr.count("ValueError: broken") == 2
    assert "eyJhbGci" not in done.stderr
