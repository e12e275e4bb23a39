"""Prometheus' text format for metric snapshots, of one process or of several.

Source: Prometheus, "Exposition formats" (text format 0.0.4), written by its own client library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from hub.core.metrics import HistogramSnapshot, MetricFamily

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render_prometheus(
    by_process: Mapping[str, Sequence[MetricFamily]], *, label_processes: bool = False
) -> bytes:
    """Return the text of the metrics of some processes.

    by_process: the snapshots by the name of their process. label_processes: whether each sample
    gets the label `process` with that name; required for more than one process.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(by_process, label_processes))
    return generate_latest(registry)


class _SnapshotCollector:
    """Gives the snapshots to the library, the samples of equal metrics together."""

    def __init__(
        self, by_process: Mapping[str, Sequence[MetricFamily]], label_processes: bool
    ) -> None:
        self._by_process = by_process
        self._label_processes = label_processes

    def collect(self) -> Iterator[Metric]:
        metrics: dict[str, Metric] = {}
        for process, families in self._by_process.items():
            for family in families:
                metric = metrics.get(family.name)
                if metric is None:
                    labels = [*family.labels, *(["process"] if self._label_processes else [])]
                    metric = metrics[family.name] = _build_metric(family, labels)
                for values, value in family.samples:
                    _add_sample(
                        metric, [*values, *([process] if self._label_processes else [])], value
                    )
        yield from metrics.values()


def _build_metric(family: MetricFamily, labels: Sequence[str]) -> Metric:
    kinds = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    metric: Metric = kinds[family.kind](family.name, family.help, labels=labels)
    return metric


def _add_sample(metric: Metric, labels: Sequence[str], value: float | HistogramSnapshot) -> None:
    if isinstance(metric, HistogramMetricFamily):
        assert isinstance(value, HistogramSnapshot)
        bounds = [*map(str, value.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(value.buckets), strict=True))
        metric.add_metric(labels, buckets=buckets, sum_value=value.total)
    elif isinstance(metric, CounterMetricFamily | GaugeMetricFamily):
        assert not isinstance(value, HistogramSnapshot)
        metric.add_metric(labels, value)
