"""Put load on a server: hold streams open, publish events, and read the counters."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.machine import run_load, start_load
from bench.servers import Target

Row = dict[str, Any]


@contextmanager
def hold_connections(
    target: Target, connections: int, *options: str, transport: str = "sse"
) -> Iterator[subprocess.Popen[str]]:
    """Hold streams open during the block.

    Yield the load generator; it is terminated at the end, and `read_result` returns its totals.
    """
    args = ["-p", str(target.port), "-n", str(connections)]
    if transport == "grpc":
        generator = start_load("grpc_load", *args)
    else:
        args += ["-u", target.stream_path, "-r", "4000", "-q", "-d", "600", "-t", transport]
        generator = start_load("sse_load", *args, *options)
    try:
        deadline = time.monotonic() + 60
        while count_open_files(target.pid) < connections and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        yield generator
    finally:
        generator.terminate()


def count_open_files(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def count_delivered(target: Target) -> int:
    """Return how many events the hub has delivered over all transports, from its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{target.publish_port}/metrics") as response:
        metrics = response.read().decode()
    lines = re.findall(r"^hub_events_delivered_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    return sum(int(float(value)) for value in lines)


def publish(target: Target, *options: str, path: str = "", body: str = "") -> Row:
    """Run pub_load against the target; return its result."""
    address = ("-p", str(target.publish_port), "-P", path or target.publish_path)
    return run_load("pub_load", *address, "-b", body or target.publish_body, *options)
