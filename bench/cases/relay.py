"""P6: the worker's side, one processor, and an endpoint that sends what an LLM would."""

from __future__ import annotations

import json
import sys
import time
import urllib.request

from bench import servers
from bench.load import Row, holding
from bench.machine import (
    LOAD_CORE,
    SERVER_CORE,
    built,
    cpu_seconds,
    finished,
    load,
    profiled,
    running,
)
from tests.topologies import free_ports


def relay(generations: int = 100, deltas_per_second: int = 100, seconds: int = 8) -> list[Row]:
    """P6: answers that stream at once, CPU of the worker per delta, beside the same endpoint read
    directly. The endpoint, the node, the broker and the readers share the load's processor: that
    one is full at about 15,000 deltas/s. No LLM is behind the endpoint.
    """
    (port,) = free_ports(1)
    deltas = deltas_per_second * seconds
    llm = [built("llm"), str(port), str(deltas_per_second), str(deltas)]
    with running(LOAD_CORE, llm):
        servers.wait_for_port(port)
        words = ("-p", str(port), "-n", str(generations), "-u", "/%d", "-r", "250", "-q")
        direct = load("sse_load", *words, "-d", str(seconds + 4))
        relayed = _relayed(port, generations, seconds)
    return [_row("read directly", direct), _row("through the hub", relayed)]


def _relayed(port: int, generations: int, seconds: int) -> Row:
    env = {
        "HUB_UPSTREAMS__SIM__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "HUB_UPSTREAMS__SIM__DEFAULT_MODEL": "m",
        "HUB_DEFAULT_UPSTREAM": "sim",
        "HUB_WORKER__CONCURRENCY": str(generations),
    }
    worker_env = {**env, "HUB_AUTH__DISABLED": "true", "HUB_LOGS__FORMAT": "json"}
    with (
        servers.broker() as url,
        servers.node(url, core=LOAD_CORE, **env) as target,
        running(
            SERVER_CORE,
            [sys.executable, "-m", "hub", "worker"],
            {**worker_env, "HUB_REDIS__URL": url},
        ) as worker,
        holding(target, generations) as holder,
    ):
        time.sleep(3)
        before = cpu_seconds(worker.pid)
        with profiled(worker.pid, "relay", seconds):
            begun = time.monotonic()
            for user in range(generations):
                _ask(target.port, f"u{user}")
                time.sleep(max(0.0, begun + user / 250 - time.monotonic()))
            time.sleep(seconds + 2)
        used = cpu_seconds(worker.pid) - before
        holder.terminate()
        return {**finished(holder), "worker_seconds": used}


def _row(who: str, ledger: Row) -> Row:
    return {
        "way": who,
        "generations": ledger["conns"],
        "deltas": ledger["stamps"],
        "events": ledger["events"],
        "missing": ledger["gaps"],
        "out of order": ledger["dups"],
        "first delta p50 ms": ledger["first_p50_ms"],
        "p50 ms": ledger["p50_ms"],
        "p99 ms": ledger["p99_ms"],
        "µs of worker CPU per delta": ledger.get("worker_seconds", 0)
        / max(1, ledger["stamps"])
        * 1e6,
    }


def _ask(port: int, user: str) -> None:
    body = json.dumps({"prompt": "Count slowly to a thousand, in words."}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generations?user={user}",
        body,
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()
