"""P2, P3, P4 and F5: each user's own stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

from bench import servers
from bench.load import Row, holding, open_files, post
from bench.machine import (
    LOAD_CORE,
    ROOT,
    cpu_seconds,
    finished,
    load,
    pinned,
    profiled,
    resident_kb,
    start_load,
)
from bench.servers import Target


def tokens(users: int = 2000) -> list[Row]:
    """P2: every user's own tokens, through the broker with its log, published by another process.

    Paced: sent when due, whatever came of those before. Backlog: the node is stopped while they
    are published, so that the rate is what it can do, whatever the rest of the machine can.
    """
    with servers.floor() as floor:
        least = _floor(floor)
    rows: list[Row] = []
    for nodes, rate in ((1, 5_000), (1, 10_000), (1, 15_000), (1, 0), (2, 0)):
        each = 40 if rate == 0 else rate * 5 // users
        with servers.broker() as url, ExitStack() as parts:
            targets = [parts.enter_context(servers.node(url)) for _ in range(nodes)]
            rows.append(_tokens(targets, users, rate, each))
        rows[-1]["× floor"] = rows[-1]["µs per delivery"] / least
    return rows


def _tokens(targets: list[Target], users: int, rate: int, each: int) -> Row:
    share = users // len(targets)
    with ExitStack() as held:
        holders = [
            held.enter_context(holding(t, share, "-e", str(each + 1), "-f", str(n * share)))
            for n, t in enumerate(targets)
        ]
        before = sum(cpu_seconds(target.pid) for target in targets)
        with profiled(targets[0].pid, f"tokens-{rate}", 5):
            if rate == 0:
                for target in targets:
                    os.kill(target.pid, signal.SIGSTOP)
            source = _publish_tokens(targets[0].broker_url, users, rate, each)
            since = time.monotonic()
            for target in targets:
                os.kill(target.pid, signal.SIGCONT)
            for holder in holders:
                try:
                    holder.wait(30)
                except subprocess.TimeoutExpired:
                    holder.terminate()
            took = time.monotonic() - since
        ledgers = [finished(holder) for holder in holders]
        used = sum(cpu_seconds(target.pid) for target in targets) - before
    total = each * users
    return {
        "work": f"{len(targets)} node, {rate}/s" if rate else f"{len(targets)} node, backlog",
        "published/s": source["per_s"],
        "delivered/s": total / took if rate == 0 else source["per_s"],
        "µs per delivery": used / total * 1e6,
        "missing": total - sum(ledger["events"] for ledger in ledgers) + users,
        "out of order": sum(ledger["gaps"] + ledger["dups"] for ledger in ledgers),
        "p50 ms": "" if rate == 0 else ledgers[0]["p50_ms"],
        "p99 ms": "" if rate == 0 else ledgers[0]["p99_ms"],
    }


def _floor(target: Target, connections: int = 2000) -> float:
    with holding(target, connections):
        before = cpu_seconds(target.pid)
        posts = int(post(target, "-R", "25", "-d", "4")["ok"])
        return (cpu_seconds(target.pid) - before) / (posts * connections) * 1e6


def _publish_tokens(broker_url: str, users: int, rate: int, each: int) -> Row:
    words = ("-m", "bench.token_source", broker_url, str(users), str(rate), str(each))
    done = subprocess.run(
        pinned(LOAD_CORE, [sys.executable, *words]), check=True, cwd=ROOT, stdout=subprocess.PIPE
    )
    found: Row = json.loads(done.stdout)
    return found


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
            "server": "hub",
            "connections": connections,
            "kB each": (full - empty) / connections,
            "process MB": full / 1024,
            "heartbeats, % of a core": used / seconds * 100,
        }
    ]


def reconnect(connections: int = 10_000, behind: int = 20) -> list[Row]:
    """P4: all clients return at once, each some events behind."""
    with servers.hub() as target:
        _publish_tokens(target.broker_url, connections, 0, behind)
        before = cpu_seconds(target.pid)
        path = target.stream_path + "?cursor=start"
        words = ("-p", str(target.port), "-n", str(connections), "-u", path, "-r", "1000000")
        with profiled(target.pid, "reconnect", 5):
            ledger = load("sse_load", *words, "-d", "60", "-e", str(behind + 1), "-q")
        used = cpu_seconds(target.pid) - before
    return [
        {
            "server": "hub",
            "clients": connections,
            "caught up in s": ledger["all_s"],
            "µs of CPU each": used / connections * 1e6,
            "missing": ledger["gaps"],
            "twice": ledger["dups"],
            "least events": ledger["min_ev"],
            "most events": ledger["max_ev"],
        }
    ]


def slow(readers: int = 1000, stalled: int = 1000, seconds: int = 60) -> list[Row]:
    """F5: clients that never read, under load: they are sent away, and nobody else notices."""
    rows = []
    data = "x" * 4000  # more than the sockets hold, in that time
    body = f'{{"to":{{"all":true}},"data":"T=%T;N=%N;{data}"}}'
    for dead in (0, stalled):
        with servers.hub() as target, holding(target, readers) as holder:
            before_kb, most_kb = resident_kb(target.pid), 0
            words = ("-p", str(target.port), "-n", str(dead), "-u", target.stream_path)
            sleeper = start_load("sse_load", *words, "-s", "-q", "-d", "600") if dead else None
            time.sleep(2)
            poster = start_load(
                "pub_load", "-p", str(target.publish_port), "-P", "/publish", "-b", body,
                "-R", "20", "-d", str(seconds if dead else 15),
            )  # fmt: skip
            while poster.poll() is None:
                most_kb = max(most_kb, resident_kb(target.pid))
                time.sleep(0.5)
            left = open_files(target.pid) - readers
            if sleeper is not None:
                sleeper.terminate()
            holder.terminate()
            ledger = finished(holder)
            rows.append(
                {
                    "clients": f"{readers} that read, {dead} that never do",
                    "grew by MB": (most_kb - before_kb) / 1024,
                    "p50 ms": ledger["p50_ms"],
                    "p99 ms": ledger["p99_ms"],
                    "missing": ledger["gaps"],
                    "still there": max(0, left - 40),
                }
            )
    return rows
