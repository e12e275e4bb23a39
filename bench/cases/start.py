"""P8: the time from the command to a ready hub."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from bench.load import Row
from bench.machine import ROOT
from tests.topologies import free_ports


def start(times: int = 2) -> list[Row]:
    """P8: time to import the hub, and time until `hub dev` prints its address."""
    rows: list[Row] = []
    for what, code in (
        ("import hub", "import hub"),
        ("python alone", "pass"),
        ("import hub.wiring.node", "import hub.wiring.node"),
    ):
        started = time.monotonic()
        for _ in range(times):
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        rows.append({"what": what, "s": (time.monotonic() - started) / times})
    dev_seconds = [_start_dev() for _ in range(times)]
    rows.append({"what": "hub dev, ready", "s": sum(dev_seconds) / times})
    return rows


def _start_dev() -> float:
    port, internal_port = free_ports(2)
    flags = ["--port", str(port), "--internal-port", str(internal_port)]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "dev", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if str(port) in line:
                return time.monotonic() - started
        raise RuntimeError("hub dev ended before it was ready")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
