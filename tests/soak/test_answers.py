"""Check that the ledger of answers detects every violation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.answers import Answer, AnswerLedger

Events = list[tuple[str, dict[str, Any]]]
STARTED: tuple[str, dict[str, Any]] = ("generation.started", {})
DONE: tuple[str, dict[str, Any]] = ("generation.done", {})
FAILED: tuple[str, dict[str, Any]] = ("generation.failed", {"code": "x"})


def delta(i: int, text: str) -> tuple[str, dict[str, Any]]:
    return "generation.delta", {"i": i, "text": text}


def apply_events(*events: tuple[str, dict[str, Any]]) -> tuple[Answer, AnswerLedger]:
    ledger, answer = AnswerLedger(), Answer("g", "ab", 0.0)
    for name, data in events:
        answer.apply_event(name, data, ledger)
    return answer, ledger


def test_complete_answer() -> None:
    """A restarted answer begins its text anew, and one end after it is right."""
    answer, ledger = apply_events(
        STARTED, delta(0, "x"), ("generation.restarted", {}), delta(0, "a"), delta(1, "b"), DONE
    )
    assert (answer.text, answer.end, ledger.clean) == ("ab", "generation.done", True)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([STARTED, delta(0, "a"), delta(2, "b"), DONE], "gap"),
        ([STARTED, delta(0, "a"), delta(0, "a"), DONE], "gap"),
        ([STARTED, delta(0, "a"), DONE, DONE], "second end"),
        ([STARTED, FAILED], "wrong end"),
    ],
)
def test_violations(events: Events, kind: str) -> None:
    """A missing or repeated delta, a second end and a failure are violations."""
    _, ledger = apply_events(*events)
    assert dict(ledger.violations) == {kind: 1}
    assert ledger.cases


def test_snapshot() -> None:
    """Events that a snapshot contains are skipped, and its end may arrive as an event as well."""
    answer, ledger = apply_events(STARTED, delta(0, "a"))
    answer.apply_snapshot({"text": "ab", "deltas": 2, "status": "done"})
    for event in (delta(0, "a"), delta(1, "b"), DONE):
        answer.apply_event(*event, ledger)
    assert (answer.text, answer.end, ledger.clean) == ("ab", "generation.done", True)
    answer.apply_event(*DONE, ledger)
    assert dict(ledger.violations) == {"second end": 1}


def test_missing_question() -> None:
    """A question may be missing only when a fail-over lost writes of its time."""
    ledger = AnswerLedger()
    ledger.record_loss(10.0, 12.0)
    ledger.missing = {"before": (1.0, 9.9), "during": (9.0, 10.5), "after": (12.1, 13.0)}
    ledger.close()
    assert dict(ledger.violations) == {"lost": 2}
