"""What a worker counts, in Prometheus' terms. Labels are names from the settings, never users'."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hub.engine.relay import Ended

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class WorkerMetrics:
    """One worker's. models: those that may be labels, of each upstream; clients can ask for others,
    and those are counted as `other`.
    """

    def __init__(self, models: Mapping[str, Collection[str]]) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        labels = ("upstream", "model")
        self._ended = Counter(
            "hub_generations_ended",
            "Answers that ended here; code is that of generation.failed.",
            (*labels, "status", "code"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "hub_generation_tokens",
            "Tokens as the upstreams count them.",
            (*labels, "kind"),
            registry=self.registry,
        )
        self._queued = self._seconds("queued", "From the question to its answer's begin.")
        self._first = self._seconds("first_delta", "From the question to the first delta.")
        self._total = self._seconds("total", "From the question to the end.")
        self.running = Gauge(
            "hub_generations_running", "Answers that run here.", registry=self.registry
        )

    def note(self, ended: Ended) -> None:
        """One answer has ended."""
        question = ended.generation.question
        known = self._models.get(question.upstream, ())
        labels = (question.upstream, question.model if question.model in known else "other")
        self._ended.labels(*labels, ended.status.value, ended.code).inc()
        self._queued.labels(*labels).observe(ended.queued_seconds)
        self._total.labels(*labels).observe(ended.total_seconds)
        if ended.first_delta_seconds is not None:
            self._first.labels(*labels).observe(ended.first_delta_seconds)
        for kind in ("prompt", "completion"):
            number = (ended.usage or {}).get(f"{kind}_tokens")
            if isinstance(number, int) and number >= 0:
                self._tokens.labels(*labels, kind).inc(number)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def _seconds(self, what: str, description: str) -> Histogram:
        return Histogram(
            f"hub_generation_{what}_seconds",
            description,
            ("upstream", "model"),
            buckets=_SECONDS,
            registry=self.registry,
        )
