"""Load on a server: streams held open, events posted, and what that cost."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.machine import load, start_load
from bench.servers import Target

Row = dict[str, Any]


@contextmanager
def holding(
    target: Target, connections: int, *more: str, way: str = "sse"
) -> Iterator[subprocess.Popen[str]]:
    """So many open streams; ends the holder, whose last line is then its ledger."""
    words = ["-p", str(target.port), "-n", str(connections)]
    if way == "grpc":
        holder = start_load("grpc_load", *words)
    else:
        words += ["-u", target.stream_path, "-r", "4000", "-q", "-d", "600", "-t", way]
        holder = start_load("sse_load", *words, *more)
    try:
        deadline = time.monotonic() + 60
        while open_files(target.pid) < connections and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        yield holder
    finally:
        holder.terminate()


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def delivered(target: Target) -> int:
    """How many events the hub says that it has delivered, over whatever transport."""
    with urllib.request.urlopen(f"http://127.0.0.1:{target.publish_port}/metrics") as answer:
        told = answer.read().decode()
    lines = re.findall(r"^hub_events_delivered_total\{.*\} (\S+)$", told, re.MULTILINE)
    return sum(int(float(value)) for value in lines)


def post(target: Target, *words: str, path: str = "", body: str = "") -> Row:
    """Runs pub_load against the target."""
    where = ("-p", str(target.publish_port), "-P", path or target.publish_path)
    return load("pub_load", *where, "-b", body or target.publish_body, *words)
