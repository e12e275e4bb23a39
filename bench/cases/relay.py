"""P6: the worker's side, one core, a simulated LLM as the upstream."""

from __future__ import annotations

import json
import sys
import time
import urllib.request

from bench import servers
from bench.load import Row, holding
from bench.machine import LOAD_CORE, SERVER_CORE, cpu_seconds, finished, profiled, running
from tests.topologies import free_ports


def relay(generations: int = 200, tokens_per_second: int = 50, seconds: int = 8) -> list[Row]:
    """P6: answers that stream at once, CPU of the worker per delta. The LLM is simulated."""
    (port,) = free_ports(1)
    base_url = f"http://127.0.0.1:{port}/v1"
    env = {
        "HUB_UPSTREAMS__SIM__BASE_URL": base_url,
        "HUB_UPSTREAMS__SIM__DEFAULT_MODEL": "simulated-1",
        "HUB_DEFAULT_UPSTREAM": "sim",
        "HUB_WORKER__CONCURRENCY": str(generations),
    }
    llm = [sys.executable, "-m", "hub", "upstream", "--port", str(port)]
    llm += ["--tokens-per-second", str(tokens_per_second)]
    with (
        servers.broker() as url,
        running(LOAD_CORE, llm),
        servers.node(url, **env) as target,
        running(
            SERVER_CORE,
            [sys.executable, "-m", "hub", "worker"],
            {**env, "HUB_REDIS__URL": url, "HUB_AUTH__OPEN": "true", "HUB_LOGS__FORMAT": "json"},
        ) as worker,
        holding(target, generations) as holder,
    ):
        time.sleep(3)
        before = cpu_seconds(worker.pid)
        for user in range(generations):
            _ask(target.port, f"u{user}")
        with profiled(worker.pid, "relay", seconds):
            time.sleep(seconds)
        used = cpu_seconds(worker.pid) - before
        holder.terminate()
        ledger = finished(holder)
    deltas = ledger["events"] - generations
    return [
        {
            "generations": generations,
            "deltas": deltas,
            "deltas/s": deltas / seconds,
            "µs of worker CPU per delta": used / max(1, deltas) * 1e6,
        }
    ]


def _ask(port: int, user: str) -> None:
    body = json.dumps({"prompt": "Count slowly to a thousand, in words."}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/generations?user={user}",
        body,
        {"Content-Type": "application/json", "X-Hub-User": user},
    )
    urllib.request.urlopen(request, timeout=10).close()
