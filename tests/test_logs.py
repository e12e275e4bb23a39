"""The log of the process does not reveal secrets."""

from __future__ import annotations

import json
import re
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


WITH_URLS = """
import logging, sys
import structlog
from hub import logs

logs.configure("debug", sys.argv[1], "node")
url = "https://u:S3CRET@host/v1?key=S3CRET"
logging.getLogger("library").warning("cannot reach %s, and no url: /v1?key=S3CRET", url)
logging.getLogger("urllib3.connectionpool").debug("POST /v1?key=S3CRET")
try:
    raise ValueError(f"{url} is refused")
except ValueError:
    structlog.get_logger().exception("own.failed")
    logging.getLogger("library").exception("theirs")
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_messages_of_libraries_and_exceptions_show_no_login_and_no_query(log_format: str) -> None:
    """A library may write a URL of the settings into a message or an exception."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_URLS, log_format], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("is refused") == 2
    assert "no url: /v1?***" in done.stderr
    assert "S3CRET" not in "".join(
        line for line in done.stderr.splitlines() if "raise ValueError" not in line
    )


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tracebacks_show_no_values(log_format: str) -> None:
    """A traceback shows no local variable, in either format and for any library."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING, log_format], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Traceback") == done.stderr.count("ValueError: broken") == 2
    assert "eyJhbGci" not in done.stderr


def test_line_names_time_level_and_process() -> None:
    """A line of JSON begins with the event and its fields; a failure has its traceback."""
    program = """
import structlog
from hub import logs

logs.configure("info", "json", "node")
log = structlog.get_logger()
log.debug("no.line")
log.info("a.b", number=1, other=ValueError("text"))
log.warning("c")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("d")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert "ZeroDivisionError" in lines[2].pop("exception")
    assert lines == [
        {"event": "a.b", "number": 1, "other": "text", "level": "info", "process": "node"},
        {"event": "c", "level": "warning", "process": "node"},
        {"event": "d", "level": "error", "process": "node"},
    ]
