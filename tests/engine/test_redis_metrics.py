"""Nodes and workers report what their backend counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from hub.core.metrics import MetricSet
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.metrics.worker_metrics import WorkerMetrics
from hub.metrics import render_prometheus
from hub.ports.backend import BackendStatistics


class Statistics:
    """A backend that was refused something."""

    calls = 3
    refusals: Mapping[str, int] = {"out_of_memory": 2}
    disconnects: Mapping[str, int] = {"commands": 1}


@pytest.mark.parametrize("build", [NodeMetrics, lambda each: WorkerMetrics({}, each)])
def test_statistics_of_the_backend(build: Callable[[BackendStatistics], MetricSet]) -> None:
    """Calls, lost connections and refusals are metrics of every process."""
    lines = render_prometheus({"": build(Statistics()).families()}).decode().splitlines()
    for line in (
        "hub_redis_calls_total 3.0",
        'hub_redis_link_breaks_total{link="commands"} 1.0',
        'hub_redis_refusals_total{reason="out_of_memory"} 2.0',
    ):
        assert line in lines
