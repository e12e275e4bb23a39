"""P9: what a part costs a worker: functions of the application beside the relay of an endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from bench import servers
from bench.load import Row, hold_connections
from bench.machine import (
    LOAD_CORE,
    SERVER_CORE,
    compile_program,
    cpu_seconds,
    profile,
    read_result,
    run_process,
)
from bench.servers import Target
from tests.topologies import free_ports

_FUNCTION = {"kind": "function", "target": "bench.producer_app:app"}
_PRODUCERS = ("relay", "asynchronous", "synchronous")


def producers(generations: int = 40, parts_per_second: int = 100, seconds: int = 5) -> list[Row]:
    """P9: CPU of a worker and its child processes for each part of a function and of the relay.

    All run in one worker, one after the other. The worker and its child processes share a
    processor; the endpoint, the node, the broker and the readers have the other one.
    """
    (port,) = free_ports(1)
    parts = parts_per_second * seconds
    llm = [compile_program("llm"), str(port), str(parts_per_second), str(parts)]
    upstreams = {
        "relay": {"base_url": f"http://127.0.0.1:{port}/v1", "default_model": "m"},
        "asynchronous": _FUNCTION,
        "synchronous": _FUNCTION,
    }
    env = {
        "HUB_UPSTREAMS": json.dumps(upstreams),
        "HUB_DEFAULT_UPSTREAM": "relay",
        "HUB_WORKER__CONCURRENCY": str(generations),
    }
    worker_env = {**env, "HUB_AUTH__DISABLED": "true", "HUB_LOGS__FORMAT": "json"}
    with (
        run_process(LOAD_CORE, llm),
        servers.run_broker() as url,
        servers.run_node(url, core=LOAD_CORE, **env) as target,
        run_process(
            SERVER_CORE,
            [sys.executable, "-m", "hub", "worker"],
            {**worker_env, "HUB_REDIS__URL": url},
        ) as worker,
    ):
        servers.wait_for_port(port)
        time.sleep(3)
        load = Load(generations, parts, parts_per_second)
        return [measure(target, worker, name, load) for name in _PRODUCERS]


class Load(NamedTuple):
    """generations: at a time, each of another user. parts: of one. rate: parts per second."""

    generations: int
    parts: int
    rate: int


def measure(
    target: Target,
    worker: subprocess.Popen[bytes],
    name: str,
    load: Load,
    *,
    column: str = "producer",
) -> Row:
    """Let one upstream answer all users, and return what its parts cost.

    name: that of the upstream, which is in the column of this name.
    """
    seconds = load.parts / load.rate
    metadata = {"parts": load.parts, "rate": load.rate}
    with (
        hold_connections(target, load.generations) as generator,
        profile(worker.pid, f"{column}-{name}", int(seconds)),
    ):
        before = _cpu_seconds(worker.pid)
        for user in range(load.generations):
            _start_generation(target.port, f"u{user}", {"upstream": name, "metadata": metadata})
        time.sleep(seconds + 2)
        used = _cpu_seconds(worker.pid) - before
        generator.terminate()
        result = read_result(generator)
    return {
        column: name,
        "generations": result["conns"],
        "parts": result["stamps"],
        "missing": load.generations * load.parts - result["stamps"],
        "p50 ms": result["p50_ms"],
        "p99 ms": result["p99_ms"],
        "µs of CPU per part": used / max(1, result["stamps"]) * 1e6,
    }


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(cpu_seconds, [pid, *map(int, children)]))


def _start_generation(port: int, user: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generations?user={user}",
        json.dumps({"prompt": "Count slowly.", **body}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()
