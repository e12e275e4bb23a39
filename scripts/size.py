#!/usr/bin/env python3
"""Calculate how many nodes, workers and shards a deployment needs, with how much memory and cost.

Usage: size.py --users 1000000 [--events 16700] [--answers 500] …, see --help. The arithmetic is in
docs/guides/scaling.md; the coefficients are MEASURED, below. It needs Python only.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Final, NamedTuple


class Measured(NamedTuple):
    """What one unit of work costs, measured on one core (docs/concepts/performance.md)."""

    streams_per_node: int = 15_000  # of at most 18,000 (stream.max_connections): a fifth is spare
    heartbeat_us: float = 20.0
    heartbeat_seconds: float = 8.0
    delivery_us: float = 33.0  # node: an event to one user, at 10,000 a second
    broadcast_us: float = 11.8  # node: an event to all, per stream
    publish_us: float = 198.0  # node: POST /publish with one event
    shard_event_us: float = 55.0  # Redis: a stored event, one by one
    shard_delta_us: float = 34.0  # Redis: a stored event, in batches
    worker_delta_us: float = 70.0
    node_mb: float = 90.0  # a process without connections
    worker_mb: float = 100.0
    stream_kb: float = 4.7  # in the node
    kernel_kb: float = 12.0  # the buffers of a socket: 8 to 16
    stored_kb: float = 0.25  # an event of 40 bytes in the log; an estimate, not measured


MEASURED: Final = Measured()


class Load(NamedTuple):
    """The work of a deployment.

    users: connected at the same time, one stream each. events: events a second, each to one user.
    broadcasts: events a minute, each to all users. answers: answers that begin in a second.
    answer_seconds, deltas: how long an answer streams, and its deltas a second. kept_seconds: how
    long the log keeps events (`log.user.ttl_seconds`).
    """

    users: int
    events: float = 0.0
    broadcasts: float = 0.0
    answers: float = 0.0
    answer_seconds: float = 15.0
    deltas: float = 40.0
    kept_seconds: float = 3600.0


class Size(NamedTuple):
    """What the load needs. Cores are busy cores; processes have a reserve."""

    nodes: int
    workers: int
    shards: int
    worker_concurrency: int
    node_cores: float
    worker_cores: float
    shard_cores: float
    node_gb: float  # with the buffers of the kernel
    worker_gb: float
    shard_gb: float


_BUSY: Final = 0.6  # how busy a process may be: the rest is for peaks and for those that fail
_MAX_ANSWERS_PER_WORKER: Final = 500  # as many were measured at once
_MB_PER_GB: Final = 1024.0
_KB_PER_GB: Final = 1024.0**2
MAX_SHARDS: Final = 128  # the partitions of one hub, each of which is on one shard


def calculate(load: Load, cost: Measured = MEASURED) -> Size:
    """Return what a load needs. One node more than the work needs is there for one that fails."""
    running = load.answers * load.answer_seconds
    deltas = running * load.deltas
    node_us = (
        load.users / cost.heartbeat_seconds * cost.heartbeat_us
        + (load.events + deltas) * cost.delivery_us
        + load.events * cost.publish_us
        + load.broadcasts / 60 * load.users * cost.broadcast_us
    )
    worker_us = deltas * cost.worker_delta_us
    shard_us = load.events * cost.shard_event_us + deltas * cost.shard_delta_us
    node_cores, worker_cores, shard_cores = (us / 1e6 for us in (node_us, worker_us, shard_us))
    nodes = 1 + max(_round_up(load.users / cost.streams_per_node), _round_up(node_cores / _BUSY), 1)
    workers = max(_round_up(worker_cores / _BUSY), _round_up(running / _MAX_ANSWERS_PER_WORKER))
    shards = max(_round_up(shard_cores / _BUSY), 1)
    stored_kb = (load.events + deltas) * load.kept_seconds * cost.stored_kb
    return Size(
        nodes=nodes,
        workers=workers,
        shards=shards,
        worker_concurrency=_round_up(running / workers / _BUSY) if workers else 0,
        node_cores=node_cores,
        worker_cores=worker_cores,
        shard_cores=shard_cores,
        node_gb=nodes * cost.node_mb / _MB_PER_GB
        + load.users * (cost.stream_kb + cost.kernel_kb) / _KB_PER_GB,
        worker_gb=workers * cost.worker_mb / _MB_PER_GB,
        shard_gb=stored_kb / _KB_PER_GB,
    )


def _round_up(number: float) -> int:
    """Return the next whole number; 4.2 / 0.6, which is 7.000000000000001 here, is 7."""
    return math.ceil(round(number, 6))


def monthly_cost(size: Size, *, core: float, gb: float) -> float:
    """Return the price of a month: one core for each process, and the memory.

    core, gb: the price of a core and of a GiB of memory for a month, in any currency. Redis needs
    its memory twice, for a replica of each shard.
    """
    cores = size.nodes + size.workers + 2 * size.shards
    return cores * core + (size.node_gb + size.worker_gb + 2 * size.shard_gb) * gb


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print the result as a table."""
    parser = argparse.ArgumentParser(
        description="Calculate the size of a deployment of the hub.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = Load(0)
    parser.add_argument("--users", type=int, required=True, help="connected at the same time")
    for name, text in (
        ("events", "events a second, each to one user"),
        ("broadcasts", "events a minute, each to all users"),
        ("answers", "LLM answers that begin in a second"),
        ("answer-seconds", "how long an answer streams"),
        ("deltas", "deltas a second of an answer"),
        ("kept-seconds", "how long the log keeps events (log.user.ttl_seconds)"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    parser.add_argument("--core-price", type=float, default=20.0, help="of a core for a month")
    parser.add_argument("--gb-price", type=float, default=3.0, help="of a GiB for a month")
    options = vars(parser.parse_args(arguments))
    prices = {"core": options.pop("core_price"), "gb": options.pop("gb_price")}
    size = calculate(Load(**options))
    for kind, count, cores, gb in (
        ("nodes", size.nodes, size.node_cores, size.node_gb),
        ("workers", size.workers, size.worker_cores, size.worker_gb),
        ("shards", size.shards, size.shard_cores, size.shard_gb),
    ):
        print(f"{kind:8}{count:>8,} processes {cores:>10,.1f} busy cores {gb:>10,.1f} GiB")
    if size.workers:
        print(f"worker.concurrency = {size.worker_concurrency}")
    if size.shards > MAX_SHARDS:
        hubs = _round_up(size.shards / MAX_SHARDS)
        print(
            f"one hub has at most {MAX_SHARDS} shards: run {hubs} hubs, each for some of the users"
        )
    print(f"cost of a month: {monthly_cost(size, **prices):,.0f}, with a replica of each shard")


if __name__ == "__main__":
    main()
