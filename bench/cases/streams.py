"""P2, P3, P4 and F5: streams with events for single users."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

from bench import servers
from bench.load import Row, count_open_files, hold_connections, publish
from bench.machine import (
    LOAD_CORE,
    ROOT,
    cpu_seconds,
    pin_to_core,
    profile,
    read_result,
    resident_kb,
    run_load,
    start_load,
)
from bench.servers import Target


def tokens(users: int = 2000) -> list[Row]:
    """P2: a token stream per user through the broker and its log, published by another process.

    Paced rows send each event when it is due, without waiting for earlier ones. In backlog rows
    the node is paused while the events are published, so that the row shows the rate of the node
    and not the rate of the publisher.
    """
    with servers.run_floor() as floor:
        floor_us = _measure_floor(floor)
    rows: list[Row] = []
    for nodes, rate in ((1, 5_000), (1, 10_000), (1, 15_000), (1, 0), (2, 0)):
        each = 40 if rate == 0 else rate * 5 // users
        with servers.run_broker() as url, ExitStack() as stack:
            targets = [stack.enter_context(servers.run_node(url)) for _ in range(nodes)]
            rows.append(_tokens(targets, users, rate, each))
        rows[-1]["× floor"] = rows[-1]["µs per delivery"] / floor_us
    return rows


def _tokens(targets: list[Target], users: int, rate: int, each: int) -> Row:
    share = users // len(targets)
    with ExitStack() as stack:
        generators = [
            stack.enter_context(
                hold_connections(t, share, "-e", str(each + 1), "-f", str(n * share))
            )
            for n, t in enumerate(targets)
        ]
        before = sum(cpu_seconds(target.pid) for target in targets)
        with profile(targets[0].pid, f"tokens-{rate}", 5):
            if rate == 0:
                for target in targets:
                    os.kill(target.pid, signal.SIGSTOP)
            source = _publish_tokens(targets[0].broker_url, users, rate, each)
            since = time.monotonic()
            for target in targets:
                os.kill(target.pid, signal.SIGCONT)
            for generator in generators:
                try:
                    generator.wait(30)
                except subprocess.TimeoutExpired:
                    generator.terminate()
            seconds = time.monotonic() - since
        results = [read_result(generator) for generator in generators]
        used = sum(cpu_seconds(target.pid) for target in targets) - before
    total = each * users
    return {
        "work": f"{len(targets)} node, {rate}/s" if rate else f"{len(targets)} node, backlog",
        "published/s": source["per_s"],
        "delivered/s": total / seconds if rate == 0 else source["per_s"],
        "µs per delivery": used / total * 1e6,
        "missing": total - sum(result["events"] for result in results) + users,
        "out of order": sum(result["gaps"] + result["dups"] for result in results),
        "p50 ms": "" if rate == 0 else results[0]["p50_ms"],
        "p99 ms": "" if rate == 0 else results[0]["p99_ms"],
    }


def _measure_floor(target: Target, connections: int = 2000) -> float:
    with hold_connections(target, connections):
        before = cpu_seconds(target.pid)
        posts = int(publish(target, "-R", "25", "-d", "4")["ok"])
        return (cpu_seconds(target.pid) - before) / (posts * connections) * 1e6


def _publish_tokens(broker_url: str, users: int, rate: int, each: int) -> Row:
    args = ("-m", "bench.token_source", broker_url, str(users), str(rate), str(each))
    completed = subprocess.run(
        pin_to_core(LOAD_CORE, [sys.executable, *args]),
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    result: Row = json.loads(completed.stdout)
    return result


def idle(connections: int = 15_000, seconds: int = 20) -> list[Row]:
    """P3: memory and CPU of idle connections, which receive only heartbeats."""
    with servers.run_hub() as target:
        empty = resident_kb(target.pid)
        with hold_connections(target, connections):
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
    """P4: all clients reconnect at once, and each has missed some events."""
    with servers.run_hub() as target:
        _publish_tokens(target.broker_url, connections, 0, behind)
        before = cpu_seconds(target.pid)
        path = target.stream_path + "?cursor=start"
        args = ("-p", str(target.port), "-n", str(connections), "-u", path, "-r", "1000000")
        with profile(target.pid, "reconnect", 5):
            result = run_load("sse_load", *args, "-d", "60", "-e", str(behind + 1), "-q")
        used = cpu_seconds(target.pid) - before
    return [
        {
            "server": "hub",
            "clients": connections,
            "recovered in s": result["all_s"],
            "µs of CPU each": used / connections * 1e6,
            "missing": result["gaps"],
            "duplicates": result["dups"],
            "min events": result["min_ev"],
            "max events": result["max_ev"],
        }
    ]


def slow(readers: int = 1000, stalled: int = 1000, seconds: int = 60) -> list[Row]:
    """F5: clients that never read: the hub disconnects them, and other clients are unaffected."""
    rows = []
    data = "x" * 4000  # in total more than the socket buffers hold
    body = f'{{"to":{{"all":true}},"data":"T=%T;N=%N;{data}"}}'
    for stalled_count in (0, stalled):
        with servers.run_hub() as target, hold_connections(target, readers) as generator:
            before_kb, max_kb = resident_kb(target.pid), 0
            args = ("-p", str(target.port), "-n", str(stalled_count), "-u", target.stream_path)
            stalled_clients = (
                start_load("sse_load", *args, "-s", "-q", "-d", "600") if stalled_count else None
            )
            time.sleep(2)
            publisher = start_load(
                "pub_load", "-p", str(target.publish_port), "-P", "/publish", "-b", body,
                "-R", "20", "-d", str(seconds if stalled_count else 15),
            )  # fmt: skip
            while publisher.poll() is None:
                max_kb = max(max_kb, resident_kb(target.pid))
                time.sleep(0.5)
            open_connections = count_open_files(target.pid) - readers
            if stalled_clients is not None:
                stalled_clients.terminate()
            generator.terminate()
            result = read_result(generator)
            rows.append(
                {
                    "clients": f"{readers} that read, {stalled_count} that never read",
                    "memory growth, MB": (max_kb - before_kb) / 1024,
                    "p50 ms": result["p50_ms"],
                    "p99 ms": result["p99_ms"],
                    "missing": result["gaps"],
                    "still connected": max(0, open_connections - 40),
                }
            )
    return rows
