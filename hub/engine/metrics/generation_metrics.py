"""The metrics of answers, which workers and nodes have: a node ends those of external producers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final

from hub.core.metrics import Counter, Gauge, Histogram, MetricSet
from hub.core.sliding_count import HourCount
from hub.core.usage import read_count
from hub.engine.attempts.attempt import GenerationResult
from hub.error_codes import FAILURE_CODES

_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LABELS: Final = ("upstream", "model")
_KNOWN_CODES: Final = frozenset(("", *FAILURE_CODES))
_OTHER_CODE: Final = "other"  # an application's own code may fail with any code


class GenerationMetrics(MetricSet):
    """What one process counts of answers that ended on it.

    models: the label values allowed for `model`, by upstream. Clients may request any model, so
    all others count as `other`.
    """

    def __init__(self, models: Mapping[str, Collection[str]]) -> None:
        self._models = models
        self.ended = Counter(
            "hub_generations_ended",
            "Generations that ended on this process. The code is that of generation.failed.",
            *(*_LABELS, "status", "code"),
        )
        self.tokens = Counter(
            "hub_generation_tokens",
            "Tokens used, as the upstreams report them.",
            *(*_LABELS, "kind"),
        )
        self.queued = Histogram(
            "hub_generation_queued_seconds",
            "Time from the request until the generation was started.",
            *_LABELS,
            bounds=_BOUNDS,
        )
        self.first_delta = Histogram(
            "hub_generation_first_delta_seconds",
            "Time from the request to the first delta.",
            *_LABELS,
            bounds=_BOUNDS,
        )
        self.total = Histogram(
            "hub_generation_total_seconds",
            "Time from the request to the end of the generation.",
            *_LABELS,
            bounds=_BOUNDS,
        )

        self.ended_last_hour = Gauge(
            "hub_generations_ended_last_hour",
            "Generations that ended on this process within the last hour, for the console: "
            "Prometheus computes it from hub_generations_ended_total.",
            "status",
        )
        self._last_hour: dict[str, HourCount] = {}
        self.ended_last_hour.set_function(
            lambda: {name: each.total(time.monotonic()) for name, each in self._last_hour.items()}
        )

    def record(self, result: GenerationResult) -> None:
        """Count one ended generation."""
        request = result.generation.request
        known = self._models.get(request.upstream, ())
        labels = (request.upstream, request.model if request.model in known else "other")
        code = result.code if result.code in _KNOWN_CODES else _OTHER_CODE
        self.ended[*labels, result.status.value, code] += 1
        self._last_hour.setdefault(result.status.value, HourCount()).add(time.monotonic())
        self.queued.observe(result.queued_seconds, *labels)
        self.total.observe(result.total_seconds, *labels)
        if result.first_delta_seconds is not None:
            self.first_delta.observe(result.first_delta_seconds, *labels)
        for kind in ("prompt", "completion"):
            tokens = read_count((result.usage or {}).get(f"{kind}_tokens"))
            if tokens is not None:
                self.tokens[*labels, kind] += tokens
