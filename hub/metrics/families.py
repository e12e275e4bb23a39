"""Metrics as values: gathered in one process, told to another, and written in Prometheus' text.

Prometheus, "Exposition formats" (text format 0.0.4), by its own client library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from hub.core.histogram import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class HistogramSnapshot(msgspec.Struct, frozen=True):
    """A histogram's state; see core/histogram.py."""

    bounds: Sequence[float]
    buckets: Sequence[int]
    total: float


class MetricFamily(msgspec.Struct, frozen=True):
    """One metric: its samples by label values, in the order of `labels`."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float | HistogramSnapshot]]


Kind = Literal["counter", "gauge"]


def counts_by(
    name: str,
    help_: str,
    kind: Kind,
    labels: Sequence[str],
    counts: Mapping[str, float] | Mapping[tuple[str, ...], float],
) -> MetricFamily:
    """Numbers by one label, or by several."""
    samples = [([key] if isinstance(key, str) else [*key], n) for key, n in counts.items()]
    return MetricFamily(name, help_, kind, labels, samples)


def number(name: str, help_: str, kind: Kind, value: float) -> MetricFamily:
    """One number without labels."""
    return MetricFamily(name, help_, kind, [], [([], value)])


def histogram(name: str, help_: str, found: Histogram) -> MetricFamily:
    """One histogram without labels."""
    spread = HistogramSnapshot(found.bounds, found.buckets, found.total)
    return MetricFamily(name, help_, "histogram", [], [([], spread)])


def render_prometheus(by_process: Mapping[str, Sequence[MetricFamily]], *, labelled: bool) -> bytes:
    """Prometheus' text of some processes; labelled: with the label `process`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(by_process, labelled))
    return generate_latest(registry)


class _Collected:
    def __init__(self, by_process: Mapping[str, Sequence[MetricFamily]], labelled: bool) -> None:
        self._by_process = by_process
        self._labelled = labelled

    def collect(self) -> Iterator[Metric]:
        metrics: dict[str, Metric] = {}
        for process, families in self._by_process.items():
            for family in families:
                metric = metrics.get(family.name)
                if metric is None:
                    labels = [*family.labels, *(["process"] if self._labelled else [])]
                    metric = metrics[family.name] = _empty(family, labels)
                for values, value in family.samples:
                    _add(metric, [*values, *([process] if self._labelled else [])], value)
        yield from metrics.values()


def _empty(family: MetricFamily, labels: Sequence[str]) -> Metric:
    kinds = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    made: Metric = kinds[family.kind](family.name, family.help, labels=labels)
    return made


def _add(metric: Metric, labels: Sequence[str], value: float | HistogramSnapshot) -> None:
    if isinstance(metric, HistogramMetricFamily):
        assert isinstance(value, HistogramSnapshot)
        ends = [*map(str, value.bounds), "+Inf"]
        buckets = list(zip(ends, accumulate(value.buckets), strict=True))
        metric.add_metric(labels, buckets=buckets, sum_value=value.total)
    elif isinstance(metric, CounterMetricFamily | GaugeMetricFamily):
        assert not isinstance(value, HistogramSnapshot)
        metric.add_metric(labels, value)
