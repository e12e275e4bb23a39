"""A worker's metrics. docs/metrics.md has the table that is made from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from hub.core.histogram import Histogram
from hub.engine.relay import GenerationResult
from hub.metrics.families import (
    HistogramSnapshot,
    MetricFamily,
    counts_by,
    number,
    render_prometheus,
)

_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LABELS: Final = ("upstream", "model")
_Spreads = defaultdict[tuple[str, str], Histogram]


def _spreads() -> _Spreads:
    return defaultdict(partial(Histogram, _BOUNDS))


class WorkerMetrics:
    """One worker's. models: those that may be labels, of each upstream; clients can ask for others,
    and those are counted as `other`. running: how many answers run.
    """

    def __init__(self, models: Mapping[str, Collection[str]], running: Callable[[], int]) -> None:
        self._models = models
        self._running = running
        self._ended: Counter[tuple[str, ...]] = Counter()
        self._tokens: Counter[tuple[str, ...]] = Counter()
        self._queued, self._first, self._total = _spreads(), _spreads(), _spreads()

    def record(self, ended: GenerationResult) -> None:
        """One answer has ended."""
        question = ended.generation.request
        known = self._models.get(question.upstream, ())
        labels = (question.upstream, question.model if question.model in known else "other")
        self._ended[*labels, ended.status.value, ended.code] += 1
        self._queued[labels].observe(ended.queued_seconds)
        self._total[labels].observe(ended.total_seconds)
        if ended.first_delta_seconds is not None:
            self._first[labels].observe(ended.first_delta_seconds)
        for kind in ("prompt", "completion"):
            tokens = (ended.usage or {}).get(f"{kind}_tokens")
            if isinstance(tokens, int) and tokens >= 0:
                self._tokens[*labels, kind] += tokens

    def families(self) -> Sequence[MetricFamily]:
        """As they are now."""
        return [
            number("hub_generations_running", "Answers that run here.", "gauge", self._running()),
            counts_by(
                "hub_generations_ended",
                "Answers that ended here; code is that of generation.failed.",
                "counter",
                [*_LABELS, "status", "code"],
                self._ended,
            ),
            counts_by(
                "hub_generation_tokens",
                "Tokens as the upstreams count them.",
                "counter",
                [*_LABELS, "kind"],
                self._tokens,
            ),
            _seconds("queued", "From the question to its answer's begin.", self._queued),
            _seconds("first_delta", "From the question to the first delta.", self._first),
            _seconds("total", "From the question to the end.", self._total),
        ]

    def text(self) -> bytes:
        """Prometheus' text format."""
        return render_prometheus({"": self.families()}, labelled=False)


def _seconds(what: str, help_: str, found: _Spreads) -> MetricFamily:
    samples = [
        ([*labels], HistogramSnapshot(each.bounds, each.buckets, each.total))
        for labels, each in found.items()
    ]
    return MetricFamily(f"hub_generation_{what}_seconds", help_, "histogram", _LABELS, samples)
