"""The metrics of guards, which workers have."""

from __future__ import annotations

from typing import Final

from hub.core.metrics import Counter, Histogram, MetricSet

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class GuardMetrics(MetricSet):
    """What one worker counts of its guards."""

    def __init__(self) -> None:
        self.guard_checks = Counter(
            "hub_guard_checks",
            "Windows of answers that a guard has checked, by its verdict.",
            *("upstream", "verdict"),
        )
        self.guard_check_seconds = Histogram(
            "hub_guard_check_seconds",
            "Time from the start of a check until its verdict.",
            "upstream",
            bounds=_BOUNDS,
        )
        self.guard_delay_seconds = Histogram(
            "hub_guard_delay_seconds",
            "Time that text waited for the guard before it was published: the added latency.",
            "upstream",
            bounds=_BOUNDS,
        )
        self.guard_slow_checks = Counter(
            "hub_guard_slow_checks",
            "Checks that took longer than timeout_seconds of the guard.",
            "upstream",
        )
        self.guard_errors = Counter(
            "hub_guard_errors",
            "Checks that failed: an exception, an HTTP error, no verdict, or no answer in time.",
            "upstream",
        )

    def observer(self, upstream: str) -> UpstreamGuardMetrics:
        """Return what counts the checks of the guard of one upstream."""
        return UpstreamGuardMetrics(self, upstream)


class UpstreamGuardMetrics:
    """Implements text_guard.GuardObserver."""

    def __init__(self, metrics: GuardMetrics, upstream: str) -> None:
        self._metrics = metrics
        self._upstream = upstream

    def on_check(self, verdict: str, seconds: float) -> None:
        self._metrics.guard_checks[self._upstream, verdict] += 1
        self._metrics.guard_check_seconds.observe(seconds, self._upstream)

    def on_delay(self, seconds: float) -> None:
        self._metrics.guard_delay_seconds.observe(seconds, self._upstream)

    def on_slow(self) -> None:
        self._metrics.guard_slow_checks[self._upstream] += 1

    def on_error(self) -> None:
        self._metrics.guard_errors[self._upstream] += 1
