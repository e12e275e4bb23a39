"""P9: what a part costs: functions of the application and external producers beside the relay of an
endpoint.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

from bench import servers
from bench.load import Row, hold_connections
from bench.machine import (
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    compile_program,
    cpu_seconds,
    pin_to_core,
    profile,
    read_result,
    run_process,
)
from bench.servers import Target
from tests.topologies import free_ports

_FUNCTION = {"kind": "function", "target": "bench.producer_app:app"}
_UPSTREAMS = ("relay", "asynchronous", "synchronous")
_EXTERNAL = ("stream", "client")


def producers(generations: int = 40, parts_per_second: int = 100, seconds: int = 5) -> list[Row]:
    """P9: CPU for each part of the relay, of a function and of an external producer.

    All run one after the other, with one worker. `µs of CPU per part` is that of the worker with
    its child processes, or of the external producer; the node and the broker have columns of their
    own. The producer has a processor; the endpoint, the node, the broker and the readers have the
    other one.
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
        rows = [measure(target, worker, name, load) for name in _UPSTREAMS]
        return rows + [_measure_external(target, form, load) for form in _EXTERNAL]


class Load(NamedTuple):
    """generations: at a time, each of another user. parts: of one. rate: parts per second."""

    generations: int
    parts: int
    rate: int

    @property
    def seconds(self) -> float:
        return self.parts / self.rate


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

    def start() -> None:
        metadata = {"parts": load.parts, "rate": load.rate}
        for user in range(load.generations):
            _start_generation(target.port, f"u{user}", {"upstream": name, "metadata": metadata})

    with profile(worker.pid, f"{column}-{name}", int(load.seconds)):
        return {column: name, **_measure(target, worker.pid, load, start)}


def _measure_external(target: Target, form: str, load: Load) -> Row:
    """Let an external producer answer all users, and return what its parts cost."""
    url = f"http://127.0.0.1:{target.publish_port}"
    command = [sys.executable, "-m", "bench.external_producer", url, form, *map(str, load)]
    with subprocess.Popen(
        pin_to_core(SERVER_CORE, command), cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True
    ) as producer:
        assert producer.stdin is not None
        assert producer.stdout is not None
        producer.stdout.readline()  # it is ready

        def start() -> None:
            print(file=producer.stdin, flush=True)

        return {
            "producer": f"external, {form}",
            **_measure(target, producer.pid, load, start),
        }


def _measure(target: Target, producer: int, load: Load, start: Callable[[], None]) -> Row:
    """Start all answers, and return what their parts cost the process that produces them."""
    pids = [producer, target.pid, servers.read_broker_pid(target.broker_url)]
    with hold_connections(target, load.generations) as generator:
        before = [*map(_cpu_seconds, pids)]
        start()
        time.sleep(load.seconds + 1)
        after = [*map(_cpu_seconds, pids)]
        time.sleep(1)
        generator.terminate()
        result = read_result(generator)
    parts = max(1, result["stamps"])
    used = [(end - start) / parts * 1e6 for start, end in zip(before, after, strict=True)]
    return {
        "generations": result["conns"],
        "parts": result["stamps"],
        "missing": load.generations * load.parts - result["stamps"],
        "p50 ms": result["p50_ms"],
        "p99 ms": result["p99_ms"],
        "µs of CPU per part": used[0],
        "node": used[1],
        "broker": used[2],
        "in all": sum(used),
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
