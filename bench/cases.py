"""The benchmarks, each named as on the command line. A row is a dict; ratios are within one run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench import servers
from bench.machine import (
    LOAD_CORE,
    SERVER_CORE,
    cpu_seconds,
    finished,
    load,
    pinned,
    resident_kb,
    start_load,
)
from bench.servers import Target

Row = dict[str, Any]


@contextmanager
def holding(target: Target, connections: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    """So many open streams; ends the holder, whose last line is then its ledger."""
    name, ramp = target.stream_path, str(4000)
    words = ("-p", str(target.port), "-n", str(connections), "-u", name, "-r", ramp, "-q")
    holder = start_load("sse_load", *words, "-d", "600", *more)
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


def publish(target: Target, *words: str, path: str = "", body: str = "") -> Row:
    """Runs pub_load against the target."""
    where = ("-p", str(target.publish_port), "-P", path or target.publish_path)
    return load("pub_load", *where, "-b", body or target.publish_body, *words)


def broadcast(connections: int = 5000, seconds: int = 6) -> list[Row]:
    """P1: one event to every connection, CPU of the server per delivery."""
    rows: list[Row] = []
    peers: list[Callable[[], AbstractContextManager[Target]]] = [servers.floor, servers.hub]
    if servers.has_nchan():
        peers.append(servers.nchan)
    peers.append(servers.aiohttp_sse_queue)
    for start in peers:
        with start() as target:
            to_all = msgspec.structs.replace(
                target,
                stream_path="/sse/all" if target.name == "Nchan" else target.stream_path,
                publish_path="/pub/all" if target.name == "Nchan" else target.publish_path,
                publish_body=target.publish_body.replace('{"user":"u%U"}', '{"all":true}'),
            )
            rate = "2" if "queues" in target.name else "10"
            with holding(to_all, connections) as holder:
                before = cpu_seconds(target.pid)
                posts = publish(to_all, "-R", rate, "-d", str(seconds))
                time.sleep(1.5)
                used = cpu_seconds(target.pid) - before
                holder.terminate()
                ledger = finished(holder)
            delivered = posts["ok"] * connections
            rows.append(
                {
                    "server": target.name,
                    "µs per delivery": round(used / max(1, delivered) * 1e6, 2),
                    "events": posts["ok"],
                    "missing": ledger["gaps"],
                    "twice": ledger["dups"],
                    "p99 ms": ledger["p99_ms"],
                }
            )
    least = rows[0]["µs per delivery"]
    for row in rows:
        row["× floor"] = round(row["µs per delivery"] / least, 2)
    return rows


def tokens(users: int = 2000, seconds: int = 8) -> list[Row]:
    """P2: each user's own events, through the broker with its log, published by another process."""
    rows = []
    for rate in (10_000, 20_000, 40_000, 60_000):
        each = rate * seconds // users
        with servers.hub() as target:
            begun = time.monotonic()
            with holding(target, users, "-e", str(each + 1)) as holder:
                source = ("-m", "bench.token_source", target.broker_url)
                counts = (str(users), str(rate), str(seconds))
                before, since = cpu_seconds(target.pid), time.monotonic()
                subprocess.run(
                    pinned(LOAD_CORE, [sys.executable, *source, *counts]),
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                try:
                    holder.wait(30)
                except subprocess.TimeoutExpired:
                    holder.terminate()
                ledger = finished(holder)
                used = cpu_seconds(target.pid) - before
        all_came = ledger["all_s"] > 0
        took = begun + ledger["all_s"] - since
        rows.append(
            {
                "asked for": f"{rate}/s",
                "delivered/s": round(each * users / took) if all_came else "not all",
                "µs of CPU each": round(used / (each * users) * 1e6, 1),
                "missing": each * users - (ledger["events"] - users),
                "out of order": ledger["dups"],
                "p50 ms": ledger["p50_ms"],
                "p99 ms": ledger["p99_ms"],
            }
        )
    return rows


def idle(connections: int = 15_000, seconds: int = 20) -> list[Row]:
    """P3: memory and CPU of connections to which nothing is sent but heartbeats."""
    with servers.hub() as target:
        empty = resident_kb(target.pid)
        with holding(target, connections):
            time.sleep(10)
            before = cpu_seconds(target.pid)
            time.sleep(seconds)
            used = cpu_seconds(target.pid) - before
            full = resident_kb(target.pid)
    return [
        {
            "connections": connections,
            "kB each": round((full - empty) / connections, 1),
            "process MB": round(full / 1024),
            "heartbeats, of a core": f"{used / seconds:.1%}",
        }
    ]


def reconnect(connections: int = 10_000, behind: int = 20) -> list[Row]:
    """P4: all clients return at once, each some events behind."""
    with servers.hub() as target:
        command = [sys.executable, "-m", "bench.token_source", target.broker_url]
        subprocess.run([*command, str(connections), "0", str(behind)], check=True)
        before = cpu_seconds(target.pid)
        path = target.stream_path + "?cursor=start"
        words = ("-p", str(target.port), "-n", str(connections), "-u", path, "-r", "1000000")
        ledger = load("sse_load", *words, "-d", "60", "-e", str(behind + 1), "-q")
        used = cpu_seconds(target.pid) - before
    return [
        {
            "clients": connections,
            "caught up in s": ledger["all_s"],
            "µs of CPU each": round(used / connections * 1e6),
            "missing": ledger["gaps"],
            "twice": ledger["dups"],
            "least, most events": f"{ledger['min_ev']}, {ledger['max_ev']}",
        }
    ]


def publishing(seconds: int = 6) -> list[Row]:
    """P5: POST /publish, as fast as it is answered."""
    with servers.hub() as target:
        before = cpu_seconds(target.pid)
        posts = publish(target, "-U", "2000", "-c", "64", "-d", str(seconds))
        used = cpu_seconds(target.pid) - before
    return [
        {
            "events per post": 1,
            "events/s": posts["per_s"],
            "µs of CPU each": round(used / posts["ok"] * 1e6, 1),
            "refused": posts["bad"],
            "mean ms": posts["mean_ms"],
        }
    ]


def start(times: int = 5) -> list[Row]:
    """P8: from the command to ready, and `import hub`."""
    rows = []
    for what, code in (("import hub", "import hub"), ("hub.wiring.node", "import hub.wiring.node")):
        begun = time.monotonic()
        for _ in range(times):
            subprocess.run(pinned(SERVER_CORE, [sys.executable, "-c", code]), check=True)
        rows.append({"what": what, "s": round((time.monotonic() - begun) / times, 2)})
    return rows


CASES: dict[str, Callable[[], list[Row]]] = {
    "broadcast": broadcast,
    "tokens": tokens,
    "idle": idle,
    "reconnect": reconnect,
    "publish": publishing,
    "start": start,
}
