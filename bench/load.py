"""Put load on a server: hold streams open, publish events, and read the counters."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.machine import read_result, run_load, start_load
from bench.servers import Target

Row = dict[str, Any]
_CHECK_SECONDS: Final = 20


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


def publish(target: Target, *options: str, path: str = "", body: str = "", batch: int = 0) -> Row:
    """Run pub_load against the target; return its result.

    batch: how many events each request publishes, on the route for batches; 0 for one event.
    """
    if batch:
        path, body = target.batch_path, target.batch_item
        options = ("-k", str(batch), "-x", target.batch_around, *options)
    address = ("-p", str(target.publish_port), "-P", path or target.publish_path)
    body = body or target.publish_body
    return run_load("pub_load", *address, "-b", body, *target.publish_options, *options)


def check_delivery(target: Target, users: int = 20, each: int = 5) -> None:
    """Raise RuntimeError unless some users get each of their events once and in order.

    A server that is set up wrongly would look fast.
    """
    options = ("-E", str(each), "-d", str(_CHECK_SECONDS))
    with hold_connections(target, users, *options) as generator:
        posts = publish(
            target, "-U", str(users), "-n", str(users * each), "-d", str(_CHECK_SECONDS)
        )
        result = read_result(generator)
    if result["stamps"] != users * each or result["gaps"] or result["dups"]:
        raise RuntimeError(
            f"{target.name} is not set up as the benchmark needs it: of {users * each} events it "
            f"accepted {posts['ok']} and delivered {result['stamps']}"
        )
