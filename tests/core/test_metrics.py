"""Metrics: declared once, counted by increments, collected as snapshots."""

from __future__ import annotations

from hub.core.metrics import (
    Counter,
    CounterFunction,
    Gauge,
    Histogram,
    HistogramSnapshot,
    MetricSet,
)


class Sample(MetricSet):
    """A metric of each kind."""

    def __init__(self) -> None:
        self.requests = Counter("requests", "Requests answered.", "route", "status")
        self.replayed = Counter("replayed", "Events replayed.")
        self.users = Gauge("users", "Users connected.")
        self.breaks = CounterFunction("breaks", "Connections that broke.", "link")
        self.delay = Histogram("delay", "Delays.", bounds=(0.1, 1.0))
        self.total = Histogram("total", "Durations.", "model", bounds=(1.0,))
        self.started_at = 5.0  # not a metric


def test_nothing_counted() -> None:
    """Metrics without labels are collected as 0, others have no samples yet."""
    families = {family.name: family for family in Sample().families()}
    assert list(families) == ["requests", "replayed", "users", "breaks", "delay", "total"]
    assert families["requests"].samples == []
    assert families["replayed"].samples == [([], 0)]
    assert families["users"].samples == [([], 0)]
    assert families["breaks"].samples == []
    assert families["delay"].samples == [([], HistogramSnapshot((0.1, 1.0), [0, 0, 0], 0.0))]
    assert families["total"].samples == []


def test_counted() -> None:
    """Samples are kept by label values; functions are read when the metrics are collected."""
    sample = Sample()
    sample.requests["/publish", "200"] += 1
    sample.requests["/publish", "200"] += 1
    sample.replayed.add(3)
    sample.users.set_function(lambda: 2)
    sample.breaks.set_function(lambda: {"commands": 1, "events": 0})
    for seconds in (0.05, 0.1, 7.0):
        sample.delay.observe(seconds)
    sample.total.observe(1.5, "m")
    samples = [family.samples for family in sample.families()]
    assert samples[:4] == [
        [(["/publish", "200"], 2)],
        [([], 3)],
        [([], 2)],
        [(["commands"], 1), (["events"], 0)],
    ]
    assert sample.delay.snapshot().buckets == [2, 0, 1]  # a bound belongs to its bucket
    assert samples[5] == [(["m"], HistogramSnapshot((1.0,), [0, 1], 1.5))]


def test_kinds_and_labels() -> None:
    """A snapshot holds what the declaration says."""
    kinds = [(family.kind, tuple(family.labels)) for family in Sample().families()]
    assert kinds == [
        ("counter", ("route", "status")),
        ("counter", ()),
        ("gauge", ()),
        ("counter", ("link",)),
        ("histogram", ()),
        ("histogram", ("model",)),
    ]
