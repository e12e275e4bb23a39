"""Check that the ledger detects every kind of violation."""

from __future__ import annotations

import pytest

from tests.soak.ledger import Ledger, Verdict


def close_ledger(*seen: int | str, published: int = 3, losses: int = 0) -> Verdict:
    """Return the verdict on one client that received these numbers and resets."""
    ledger = Ledger()
    ledger.add_client("c", ["all"])
    ledger.acknowledged["all"] = published
    ledger.data_losses = losses
    for each in seen:
        if isinstance(each, int):
            ledger.record_event("c", "all", each)
        else:
            ledger.record_reset("c", "all")
    return ledger.close()


def test_promise_kept() -> None:
    """A client that receives each event once and in order is clean."""
    verdict = close_ledger(1, 2, 3)
    assert verdict.clean
    assert (verdict.published, verdict.delivered) == (3, 3)


@pytest.mark.parametrize(
    ("seen", "totals"),
    [
        ([1, 3], (1, 0, 0)),
        ([1, 2], (1, 0, 0)),
        ([], (3, 0, 0)),
        ([1, 2, 2, 3], (0, 1, 0)),
        ([1, 3, 2], (0, 0, 1)),
    ],
)
def test_promise_broken(seen: list[int], totals: tuple[int, int, int]) -> None:
    """The ledger reports a gap, a missing end, a duplicate and a late event."""
    verdict = close_ledger(*seen)
    assert not verdict.clean
    assert (verdict.lost, verdict.duplicates, verdict.out_of_order) == totals
    assert verdict.cases


def test_announced_gap() -> None:
    """After a data loss, a reset permits one gap."""
    assert close_ledger(1, "reset", 3, losses=1).clean
    assert close_ledger(1, "reset", losses=1).clean
    assert close_ledger(
        1, 2, "reset", 2, 3, losses=1
    ).clean  # published again: its idempotency key was lost
    assert not close_ledger(1, "reset", 3, losses=0).clean
    assert not close_ledger(1, "reset", "reset", 3, losses=1).clean
    assert not close_ledger("reset", 1, 3, losses=1).clean
