"""P8: from the command to ready."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from bench.load import Row
from bench.machine import ROOT
from tests.topologies import free_ports


def start(times: int = 3) -> list[Row]:
    """P8: imports, and `hub dev` from the command to the line that says it is ready."""
    rows: list[Row] = []
    for what, code in (
        ("import hub", "import hub"),
        ("python alone", "pass"),
        ("import hub.wiring.node", "import hub.wiring.node"),
    ):
        begun = time.monotonic()
        for _ in range(times):
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        rows.append({"what": what, "s": (time.monotonic() - begun) / times})
    took = [_dev() for _ in range(times)]
    rows.append({"what": "hub dev, ready", "s": sum(took) / times})
    return rows


def _dev() -> float:
    port, internal_port = free_ports(2)
    flags = ["--port", str(port), "--internal-port", str(internal_port)]
    begun = time.monotonic()
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
                return time.monotonic() - begun
        raise RuntimeError("hub dev ended before it was ready")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
