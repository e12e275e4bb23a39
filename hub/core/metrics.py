"""Metrics: counted where things happen, collected when somebody reads them.

A metric is declared once, with its name, help text and label names, in a subclass of `MetricSet`
(engine/metrics/). Counting is an increment of a plain number. Nothing here takes a lock: one event
loop counts and collects. `MetricFamily` is a snapshot that can be sent to another process as JSON;
hub/metrics renders snapshots in Prometheus' text format.

Kinds, names and labels follow Prometheus ("Metric types", "Metric and label naming"). The suffix
`_total` of a counter is added by the renderer. Label values come from small fixed sets: a user id
is never a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import msgspec

LabelValues = str | tuple[str, ...]
"""The value of one label, or the values of several in the order of the metric's label names."""

MetricKind = Literal["counter", "gauge", "histogram"]


class HistogramSnapshot(msgspec.Struct, frozen=True):
    """The state of a histogram for one combination of label values.

    bounds: the upper ends of the buckets, ascending. buckets: the number of observations in each
    bucket; one more bucket holds what exceeds the last bound. total: the sum of all observations.
    """

    bounds: Sequence[float]
    buckets: Sequence[int]
    total: float


class MetricFamily(msgspec.Struct, frozen=True):
    """A snapshot of one metric: its samples with their label values, in the order of `labels`."""

    name: str
    help: str
    kind: MetricKind
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float | HistogramSnapshot]]


class Metric:
    """What all metrics have: a name, a help text of one sentence, and label names."""

    kind: ClassVar[MetricKind]

    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = labels

    def samples(self) -> Iterable[tuple[LabelValues, float | HistogramSnapshot]]:
        """Return the current values by label values; `()` stands for a metric without labels."""
        raise NotImplementedError

    def family(self) -> MetricFamily:
        """Return a snapshot."""
        samples = [
            ([values] if isinstance(values, str) else [*values], value)
            for values, value in self.samples()
        ]
        return MetricFamily(self.name, self.help_text, self.kind, self.labels, samples)


class Counter(Metric, dict[LabelValues, int]):
    """A number that only rises, for each combination of label values.

    Count with `counter["sse"] += 1`, with several labels `counter["public", "200"] += 1`, and
    without labels `counter.add(1)`.
    """

    kind = "counter"

    def __missing__(self, values: LabelValues) -> int:
        return 0

    def add(self, amount: int) -> None:
        """Increment a counter that has no labels."""
        self[()] += amount

    def samples(self) -> Iterable[tuple[LabelValues, float]]:
        return [*self.items()] if self.labels else [((), self[()])]


class Gauge(Metric):
    """A value that rises and falls. The function reads it when the metrics are collected."""

    kind: ClassVar[MetricKind] = "gauge"
    _function: Callable[[], float | Mapping[str, float]] | None = None

    def set_function(self, function: Callable[[], float | Mapping[str, float]]) -> None:
        """Set what returns the value: a number, or with one label the numbers by its values."""
        self._function = function

    def samples(self) -> Iterable[tuple[LabelValues, float]]:
        value = self._function() if self._function else {} if self.labels else 0
        return [*value.items()] if isinstance(value, Mapping) else [((), value)]


class CounterFunction(Gauge):
    """A number that only rises and that another object counts; a function reads it."""

    kind = "counter"


class Histogram(Metric):
    """How often a value fell into each bucket, for each combination of label values.

    bounds: the upper ends of the buckets, ascending.
    """

    kind = "histogram"

    def __init__(self, name: str, help_text: str, *labels: str, bounds: Sequence[float]) -> None:
        super().__init__(name, help_text, *labels)
        self._bounds = bounds
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._totals: dict[tuple[str, ...], float] = {}
        if not labels:
            self._create(())

    def observe(self, value: float, *values: str) -> None:
        """Count one observation; values: the label values."""
        buckets = self._buckets.get(values) or self._create(values)
        buckets[bisect_left(self._bounds, value)] += 1
        self._totals[values] += value

    def snapshot(self, *values: str) -> HistogramSnapshot:
        """Return the state for these label values. Raise KeyError before the first observation."""
        return HistogramSnapshot(self._bounds, self._buckets[values], self._totals[values])

    def samples(self) -> Iterable[tuple[LabelValues, HistogramSnapshot]]:
        return [(values, self.snapshot(*values)) for values in self._buckets]

    def _create(self, values: tuple[str, ...]) -> list[int]:
        self._totals[values] = 0.0
        buckets = self._buckets[values] = [0] * (len(self._bounds) + 1)
        return buckets


class MetricSet:
    """The metrics of one process. A subclass declares them as attributes in its `__init__`."""

    def families(self) -> Sequence[MetricFamily]:
        """Return a snapshot of each metric, in the order of their declaration."""
        return [each.family() for each in vars(self).values() if isinstance(each, Metric)]
