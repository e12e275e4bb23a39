"""The log of the process does not reveal secrets."""

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


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tracebacks_show_no_values(log_format: str) -> None:
    """A traceback shows no local variable, in either format and for any library."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING, log_format], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Traceback") == done.stderr.count("ValueError: broken") == 2
    assert "eyJhbGci" not in done.stderr
