"""What a worker counts of the answers that ended on it."""

from __future__ import annotations

import pytest

from hub.core.generation import Generation, GenerationRequest, Status
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.metrics.worker_metrics import WorkerMetrics


@pytest.mark.parametrize(
    ("code", "counted"),
    [("", ""), ("producer_lost", "producer_lost"), ("no_credit", "other"), ("user_7", "other")],
)
def test_codes_of_applications_are_one_label(code: str, counted: str) -> None:
    """A function may fail with any code, so only the hub's own codes are labels."""
    metrics = WorkerMetrics({"main": ["m"]})
    request = GenerationRequest([], upstream="main", model="m")
    record = Generation("g", "alice", request)
    metrics.record(GenerationResult(generation=record, status=Status.FAILED, code=code))
    assert metrics.ended["main", "m", "failed", counted] == 1
