"""The ledger of the webhook soak finds what it is made to find."""

from __future__ import annotations

from typing import Any

from tests.soak.webhook_ledger import WebhookLedger, logged_name

TEXTS = {"g1": "one", "g2": "two"}
LOG = ["generation.done g1", "inbox.read 1-0 2-0", "generation.done g2"]


def done(generation: str, text: str | None = None) -> dict[str, Any]:
    record = {"status": "done", "text": text or TEXTS[generation]}
    return {
        "type": "generation.done",
        "data": {"user": "u", "generation": generation, "record": record},
    }


def read(*items: str) -> dict[str, Any]:
    return {"type": "inbox.read", "data": {"user": "u", "items": items}}


def test_webhooks_that_come_again() -> None:
    """Webhooks in the order of the log are right, also if the first ones come once more later."""
    ledger = WebhookLedger()
    received = [("a", done("g1")), ("b", read("2-0", "1-0")), ("a", done("g1")), ("c", done("g2"))]
    ledger.compare({"u": LOG}, received, TEXTS)
    assert ledger.is_clean, ledger.cases
    assert ledger.totals == {
        "events in the logs": 3, "webhooks": 3, "webhooks that came again": 1,
    }  # fmt: skip


def test_violations() -> None:
    """A lost webhook, one without an event, a wrong order, a wrong text and a changed body are
    found.
    """
    ledger = WebhookLedger()
    received = [("c", done("g2")), ("a", done("g1", "no")), ("a", done("g1")), ("d", read("9-0"))]
    ledger.compare({"u": LOG}, received, TEXTS)
    assert dict(ledger.violations) == {
        "lost": 1, "not in the log": 1, "out of order": 1, "wrong record": 1, "two bodies": 1,
    }  # fmt: skip
    assert not ledger.is_clean


def test_events_that_need_a_webhook() -> None:
    """Ends of answers and reads of the inbox need one, other changes do not."""
    read = {"change": "read", "items": ["2-0", "1-0"]}
    assert logged_name("inbox.changed", read) == "inbox.read 1-0 2-0"
    assert logged_name("generation.failed", {"generation": "g1"}) == "generation.failed g1"
    assert logged_name("inbox.changed", {"change": "seen", "items": ["1-0"]}) is None
    assert logged_name("generation.delta", {"generation": "g1"}) is None
