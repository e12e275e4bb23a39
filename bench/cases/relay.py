"""P6: the worker on one processor, and an endpoint that streams like an LLM."""

from __future__ import annotations

import json
import sys
import time
import urllib.request

from bench import servers
from bench.load import Row, hold_connections
from bench.machine import (
    LOAD_CORE,
    SERVER_CORE,
    compile_program,
    cpu_seconds,
    profile,
    read_result,
    run_load,
    run_process,
    wait_for_result,
)
from tests.topologies import free_ports


def relay(generations: int = 100, deltas_per_second: int = 100, seconds: int = 6) -> list[Row]:
    """P6: concurrent generations: worker CPU per delta, and the same endpoint read directly.

    The endpoint, the node, the broker and the readers share the load processor, which is saturated
    at about 15,000 deltas/s. The endpoint generates its deltas itself; there is no LLM.
    """
    (port,) = free_ports(1)
    deltas = deltas_per_second * seconds
    llm = [compile_program("llm"), str(port), str(deltas_per_second), str(deltas)]
    with run_process(LOAD_CORE, llm):
        servers.wait_for_port(port)
        args = ("-p", str(port), "-n", str(generations), "-u", "/%d", "-r", "250", "-q")
        direct = run_load("sse_load", *args, "-d", str(seconds + 4))
        relayed = _relayed(port, generations, seconds, deltas)
    due = generations * deltas
    return [_row("read directly", direct, due), _row("through the hub", relayed, due)]


def _relayed(port: int, generations: int, seconds: int, deltas: int) -> Row:
    (worker_port,) = free_ports(1)
    env = {
        "HUB_UPSTREAMS__SIM__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "HUB_UPSTREAMS__SIM__DEFAULT_MODEL": "m",
        "HUB_DEFAULT_UPSTREAM": "sim",
        "HUB_REDIS__TIMEOUT_SECONDS": "10",
        "HUB_WORKER__CONCURRENCY": str(generations),
    }
    worker_env = {**env, "HUB_AUTH__DISABLED": "true", "HUB_LOGS__FORMAT": "json"}
    worker_env["HUB_WORKER__PORT"] = str(worker_port)
    with (
        servers.run_broker() as url,
        servers.run_node(url, core=LOAD_CORE, **env) as target,
        run_process(
            SERVER_CORE,
            [sys.executable, "-m", "hub", "worker"],
            {**worker_env, "HUB_REDIS__URL": url},
        ) as worker,
        hold_connections(target, generations, "-E", str(deltas), "-K") as generator,
    ):
        servers.wait_for_port(worker_port)  # the start of the worker is not counted
        time.sleep(1)
        before = cpu_seconds(worker.pid)
        with profile(worker.pid, "relay", seconds):
            started = time.monotonic()
            for user in range(generations):
                _start_generation(target.port, f"u{user}")
                time.sleep(max(0.0, started + user / 250 - time.monotonic()))
            wait_for_result(generator, 60)
        used = cpu_seconds(worker.pid) - before
        generator.terminate()
        return {**read_result(generator), "worker_seconds": used}


def _row(path: str, result: Row, due: int) -> Row:
    return {
        "path": path,
        "generations": result["conns"],
        "deltas": result["stamps"],
        "events": result["events"],
        "missing": due - (result["stamps"] - result["dups"]),
        "out of order": result["dups"],
        "first delta p50 ms": result["first_p50_ms"],
        "p50 ms": result["p50_ms"],
        "p99 ms": result["p99_ms"],
        "µs of worker CPU per delta": result.get("worker_seconds", 0)
        / max(1, result["stamps"])
        * 1e6,
    }


def _start_generation(port: int, user: str) -> None:
    body = json.dumps({"prompt": "Count slowly to a thousand, in words."}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generations?user={user}",
        body,
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()
