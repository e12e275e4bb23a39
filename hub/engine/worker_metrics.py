"""The metrics of a worker. The table in docs/reference/metrics.md is made from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from hub.core.metrics import Counter, Gauge, Histogram, MetricSet
from hub.core.usage import read_count
from hub.engine.attempt import GenerationResult
from hub.engine.redis_metrics import redis_counters
from hub.error_codes import FAILURE_CODES
from hub.ports.backend import BackendStatistics

_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LABELS: Final = ("upstream", "model")
_KNOWN_CODES: Final = frozenset(("", *FAILURE_CODES))
_OTHER_CODE: Final = "other"  # an application's function may fail with any code


class WorkerMetrics(MetricSet):
    """What one worker counts.

    models: the label values allowed for `model`, by upstream. Clients may request any model, so
    all others count as `other`. statistics: those of the backend; None counts nothing of it.
    """

    def __init__(
        self,
        models: Mapping[str, Collection[str]],
        statistics: BackendStatistics | None = None,
    ) -> None:
        self._models = models
        self.running = Gauge("hub_generations_running", "Generations running on this worker.")
        self.ended = Counter(
            "hub_generations_ended",
            "Generations that ended on this worker. The code is that of generation.failed.",
            *(*_LABELS, "status", "code"),
        )
        self.tokens = Counter(
            "hub_generation_tokens",
            "Tokens used, as the upstreams report them.",
            *(*_LABELS, "kind"),
        )
        self.odd_fields = Counter(
            "hub_upstream_odd_fields",
            "Fields of upstreams' answers that had an unexpected type, and cost only themselves.",
            "upstream",
        )
        self.queued = Histogram(
            "hub_generation_queued_seconds",
            "Time from the request until a worker started the generation.",
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
        self.redis_calls, self.redis_disconnects, self.redis_refusals = redis_counters(statistics)

    def record_odd_fields(self, upstream: str, count: int) -> None:
        """Count the odd fields of one answer."""
        self.odd_fields[upstream] += count

    def record(self, result: GenerationResult) -> None:
        """Count one ended generation."""
        request = result.generation.request
        known = self._models.get(request.upstream, ())
        labels = (request.upstream, request.model if request.model in known else "other")
        code = result.code if result.code in _KNOWN_CODES else _OTHER_CODE
        self.ended[*labels, result.status.value, code] += 1
        self.queued.observe(result.queued_seconds, *labels)
        self.total.observe(result.total_seconds, *labels)
        if result.first_delta_seconds is not None:
            self.first_delta.observe(result.first_delta_seconds, *labels)
        for kind in ("prompt", "completion"):
            tokens = read_count((result.usage or {}).get(f"{kind}_tokens"))
            if tokens is not None:
                self.tokens[*labels, kind] += tokens
