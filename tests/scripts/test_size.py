"""The calculator of deployments: its arithmetic, and what it prints."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

NAMES = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "size.py"))
calculate, monthly_cost, main = NAMES["calculate"], NAMES["monthly_cost"], NAMES["main"]
Load = NAMES["Load"]


def test_connections_alone() -> None:
    """Idle users need nodes for their connections, one more, one shard, and no worker."""
    size = calculate(Load(users=30_000))
    assert (size.nodes, size.workers, size.shards) == (3, 0, 1)
    assert size.node_cores == pytest.approx(30_000 / 8 * 20e-6)
    assert size.node_gb == pytest.approx(3 * 90 / 1024 + 30_000 * 16.7 / 1024**2)


def test_work_needs_more_than_connections() -> None:
    """The busy cores decide where they need more processes than the connections do."""
    size = calculate(Load(users=1000, events=10_000, answers=100))
    deltas = 100 * 15 * 40
    assert size.node_cores == pytest.approx(0.0025 + (10_000 + deltas) * 33e-6 + 10_000 * 198e-6)
    assert size.nodes == 9
    assert size.worker_cores == pytest.approx(deltas * 70e-6)
    assert size.workers == 7
    assert size.shard_cores == pytest.approx(10_000 * 55e-6 + deltas * 34e-6)
    assert size.shards == 5
    assert size.shard_gb == pytest.approx((10_000 + deltas) * 3600 * 0.25 / 1024**2)
    assert size.worker_concurrency >= 1500 / 7


def test_broadcasts_cost_each_stream() -> None:
    """An event to all is a delivery for every user."""
    idle, busy = (calculate(Load(users=60_000, broadcasts=count)) for count in (0, 60))
    assert busy.node_cores - idle.node_cores == pytest.approx(60_000 * 11.8e-6)


def test_cost() -> None:
    """A process has a core; a shard has a replica with the same memory."""
    size = calculate(Load(users=15_000, events=100))
    memory = size.node_gb + 2 * size.shard_gb
    assert monthly_cost(size, core=10, gb=2) == pytest.approx((2 + 2) * 10 + memory * 2)


@pytest.mark.parametrize(("users", "has_note"), [(1_000_000, False), (100_000_000, True)])
def test_several_hubs(users: int, has_note: bool, capsys: Any) -> None:
    """A load that needs more shards than a hub has partitions needs several hubs."""
    main(["--users", str(users), "--answers", str(users / 10_000)])
    assert ("run 3 hubs" in capsys.readouterr().out) == has_note
