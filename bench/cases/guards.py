"""P10: what a guard that passes everything costs: CPU time for each part, and added latency."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from bench import servers
from bench.cases.producers import Load, measure
from bench.load import Row
from bench.machine import LOAD_CORE, SERVER_CORE, compile_program, run_process
from tests.topologies import free_ports

_FUNCTIONS = ("asynchronous", "synchronous")


def guards(generations: int = 10, parts_per_second: int = 50, seconds: int = 5) -> list[Row]:
    """P10: CPU of a worker and its child processes for each part, without a guard and with one.

    All run in one worker, one after the other; the ratio and the added latency compare with the
    first. No characters are held back. The endpoint of the guard has the other processor, and its
    CPU time does not count.
    """
    llm_port, guard_port, worker_port = free_ports(3)
    parts = parts_per_second * seconds
    llm = [compile_program("llm"), str(llm_port), str(parts_per_second), str(parts)]
    endpoint = [sys.executable, "-m", "bench.guard_app", str(guard_port)]
    guards: dict[str, dict[str, Any]] = {
        "none": {},
        **{name: {"target": f"bench.guard_app:{name}"} for name in _FUNCTIONS},
        "HTTP": {"url": f"http://127.0.0.1:{guard_port}/"},
    }
    upstream = {"base_url": f"http://127.0.0.1:{llm_port}/v1", "default_model": "m"}
    upstreams = {
        name: {**upstream, **({"guard": {**guard, "hold_back_characters": 0}} if guard else {})}
        for name, guard in guards.items()
    }
    env = {
        "HUB_UPSTREAMS": json.dumps(upstreams),
        "HUB_DEFAULT_UPSTREAM": "none",
        "HUB_WORKER__CONCURRENCY": str(generations),
    }
    worker_env = {
        **env,
        "HUB_AUTH__DISABLED": "true",
        "HUB_LOGS__FORMAT": "json",
        "HUB_WORKER__PORT": str(worker_port),
    }
    with (
        run_process(LOAD_CORE, llm),
        run_process(LOAD_CORE, endpoint),
        servers.run_broker() as url,
        servers.run_node(url, core=LOAD_CORE, **env) as target,
        run_process(
            SERVER_CORE,
            [sys.executable, "-m", "hub", "worker"],
            {**worker_env, "HUB_REDIS__URL": url},
        ) as worker,
    ):
        for port in (llm_port, guard_port, worker_port):
            servers.wait_for_port(port)
        time.sleep(1)
        load = Load(generations, parts, parts_per_second)
        rows = [measure(target, worker, name, load, column="guard") for name in guards]
    return [_compare(row, rows[0]) for row in rows]


def _compare(row: Row, base: Row) -> Row:
    cpu = "µs of CPU per part"
    return {
        **row,
        "times the CPU": float(row[cpu]) / float(base[cpu]),
        "added ms": float(row["p50 ms"]) - float(base["p50 ms"]),
    }
