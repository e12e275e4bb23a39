"""P2, P3, P4 and F5: streams with events for single users."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import Final

from bench import servers
from bench.load import Row, count_open_files, hold_connections, publish
from bench.machine import (
    LOAD_CORE,
    cpu_seconds,
    profile,
    read_result,
    resident_kb,
    start_load,
    wait_for_result,
)
from bench.peers.centrifugo import run_centrifugo
from bench.peers.programs import PROGRAMS
from bench.servers import Target
from bench.token_source import publish_tokens

_TOKEN_SECONDS: Final = 5
_TOKENS_PER_POST: Final = 5  # what the source of the hub sends at once at 10,000 a second
_PAUSE_SECONDS: Final = 4
_RECONNECT_BATCH: Final = 100


def tokens(users: int = 2000) -> list[Row]:
    """P2: a token stream per user through the broker and its log, published by another process.

    Paced rows send each event when it is due, without waiting for earlier ones. In backlog rows
    the node is paused while the events are published, so that the row shows the rate of the node
    and not the rate of the publisher. The publisher of Centrifugo is another node of it, which is
    asked for 5 events at a time; that one and the broker share the load processor.
    """
    with servers.run_floor() as floor:
        floor_us = _measure_floor(floor)
    rows = [_tokens_of_nodes(1, users, rate) for rate in (5_000, 10_000, 0)]
    if "centrifugo" in PROGRAMS:
        rows += [_peer_tokens(users, rate) for rate in (5_000, 10_000)]
    for row in rows:
        row["× floor"] = row["µs per delivery"] / floor_us
    return rows


def nodes(users: int = 2000) -> list[Row]:
    """P7: a backlog of tokens: two nodes on one processor should cost what one costs."""
    return [_tokens_of_nodes(count, users, 0) for count in (1, 2)]


def _tokens_of_nodes(count: int, users: int, rate: int) -> Row:
    each = 40 if rate == 0 else rate * _TOKEN_SECONDS // users
    with servers.run_broker() as url, ExitStack() as stack:
        targets = [stack.enter_context(servers.run_node(url)) for _ in range(count)]
        return _tokens(targets, users, rate, each)


def _peer_tokens(users: int, rate: int) -> Row:
    each = rate * _TOKEN_SECONDS // users
    with (
        servers.run_broker() as url,
        run_centrifugo(url) as target,
        run_centrifugo(url, core=LOAD_CORE) as publisher,
        hold_connections(target, users, "-E", str(each), "-K") as generator,
    ):
        before = cpu_seconds(target.pid)
        posts = publish(
            publisher, "-U", str(users), "-c", "8", "-R", str(rate / _TOKENS_PER_POST),
            "-n", str(users * each // _TOKENS_PER_POST), "-d", "60", batch=_TOKENS_PER_POST,
        )  # fmt: skip
        wait_for_result(generator)
        used = cpu_seconds(target.pid) - before
        generator.terminate()
        result = read_result(generator)
    total = users * each
    return {
        "server": target.name,
        "work": f"{rate}/s",
        "published/s": posts["per_s"] * _TOKENS_PER_POST,
        "delivered/s": posts["per_s"] * _TOKENS_PER_POST,
        "µs per delivery": used / total * 1e6,
        "missing": total - result["stamps"],
        "out of order": result["gaps"] + result["dups"],
        "p50 ms": result["p50_ms"],
        "p99 ms": result["p99_ms"],
    }


def _tokens(targets: list[Target], users: int, rate: int, each: int) -> Row:
    share = users // len(targets)
    with ExitStack() as stack:
        generators = [
            stack.enter_context(
                hold_connections(t, share, "-E", str(each), "-K", "-f", str(n * share))
            )
            for n, t in enumerate(targets)
        ]
        before = sum(cpu_seconds(target.pid) for target in targets)
        with profile(targets[0].pid, f"tokens-{rate}", 5):
            if rate == 0:
                for target in targets:
                    os.kill(target.pid, signal.SIGSTOP)
            source = publish_tokens(targets[0].broker_url, users, rate, each)
            since = time.monotonic()
            for target in targets:
                os.kill(target.pid, signal.SIGCONT)
            for generator in generators:
                wait_for_result(generator, 60)
            seconds = time.monotonic() - since
            used = sum(cpu_seconds(target.pid) for target in targets) - before
        for generator in generators:
            generator.terminate()
        results = [read_result(generator) for generator in generators]
    total = each * users
    return {
        "server": "hub" if len(targets) == 1 else f"{len(targets)} nodes of the hub",
        "work": f"{rate}/s" if rate else "backlog",
        "published/s": source["per_s"],
        "delivered/s": total / seconds if rate == 0 else source["per_s"],
        "µs per delivery": used / total * 1e6,
        "missing": total - sum(result["stamps"] - result["dups"] for result in results),
        "out of order": sum(result["gaps"] + result["dups"] for result in results),
        "p50 ms": "" if rate == 0 else results[0]["p50_ms"],
        "p99 ms": "" if rate == 0 else results[0]["p99_ms"],
    }


def _measure_floor(target: Target, connections: int = 2000) -> float:
    with hold_connections(target, connections):
        before = cpu_seconds(target.pid)
        posts = int(publish(target, "-R", "25", "-d", "4")["ok"])
        return (cpu_seconds(target.pid) - before) / (posts * connections) * 1e6


def idle(connections: int = 15_000) -> list[Row]:
    """P3: memory and CPU of idle connections, which receive only heartbeats.

    The time is two intervals of the hub's heartbeats, and one of Centrifugo's.
    """
    with servers.run_hub() as target:
        rows = [_idle(target, connections, 16, heartbeat_seconds=8)]
    if "centrifugo" in PROGRAMS:
        with servers.run_broker() as url, run_centrifugo(url) as target:
            rows.append(_idle(target, connections, 25, heartbeat_seconds=25))
    return rows


def _idle(target: Target, connections: int, seconds: int, *, heartbeat_seconds: int) -> Row:
    empty = resident_kb(target.pid)
    with hold_connections(target, connections) as generator:
        time.sleep(_PAUSE_SECONDS)
        before = cpu_seconds(target.pid)
        time.sleep(seconds)
        used = cpu_seconds(target.pid) - before
        full = resident_kb(target.pid)
        generator.terminate()
        result = read_result(generator)
    return {
        "server": target.name,
        "connections": result["alive"],
        "kB each": (full - empty) / connections,
        "process MB": full / 1024,
        "heartbeats, % of a core": used / seconds * 100,
        "heartbeat every s": heartbeat_seconds,
        "missing": connections - result["alive"],
    }


def reconnect(connections: int = 10_000, behind: int = 20) -> list[Row]:
    """P4: all clients reconnect at once, and each has missed some events."""
    with servers.run_hub() as target:
        publish_tokens(target.broker_url, connections, 0, behind)
        rows = [_reconnect(target, connections, behind)]
    if "centrifugo" in PROGRAMS:
        with servers.run_broker() as url, run_centrifugo(url) as target:
            posts = connections * behind // _RECONNECT_BATCH
            publish(
                target, "-U", str(connections), "-c", "4", "-n", str(posts), "-d", "120",
                batch=_RECONNECT_BATCH,
            )  # fmt: skip
            rows.append(_reconnect(target, connections, behind))
    return rows


def _reconnect(target: Target, connections: int, behind: int) -> Row:
    time.sleep(1)
    before = cpu_seconds(target.pid)
    path = target.recovery_stream_path
    args = ("-p", str(target.port), "-n", str(connections), "-u", path, "-r", "1000000")
    with profile(target.pid, "reconnect", 5):
        generator = start_load("sse_load", *args, "-d", "90", "-E", str(behind), "-K", "-A", "-q")
        wait_for_result(generator, 120)
    used = cpu_seconds(target.pid) - before
    generator.terminate()
    result = read_result(generator)
    return {
        "server": target.name,
        "clients": connections,
        "recovered in s": result["all_s"],
        "µs of CPU each": used / connections * 1e6,
        "missing": connections * behind - (result["stamps"] - result["dups"]),
        "duplicates": result["dups"],
        "began again": result["again"],
        "closed": result["dead"],
    }


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
