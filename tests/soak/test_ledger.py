"""The ledger can fail: each way in which the promise can be broken is seen."""

from __future__ import annotations

import pytest

from tests.soak.ledger import Ledger, Verdict


def ledger_of(*seen: int | str, published: int = 3, losses: int = 0) -> Verdict:
    """The verdict on one client that saw these numbers; `reset` is one too."""
    ledger = Ledger()
    ledger.follows("c", ["all"])
    ledger.acknowledged["all"] = published
    ledger.data_losses = losses
    for each in seen:
        if isinstance(each, int):
            ledger.saw("c", "all", each)
        else:
            ledger.told_reset("c", "all")
    return ledger.close()


def test_promise_kept() -> None:
    """Everything once and in order."""
    verdict = ledger_of(1, 2, 3)
    assert verdict.clean
    assert (verdict.published, verdict.delivered) == (3, 3)


@pytest.mark.parametrize(
    ("seen", "sums"),
    [
        ([1, 3], (1, 0, 0)),
        ([1, 2], (1, 0, 0)),
        ([], (3, 0, 0)),
        ([1, 2, 2, 3], (0, 1, 0)),
        ([1, 3, 2], (0, 0, 1)),
    ],
)
def test_promise_broken(seen: list[int], sums: tuple[int, int, int]) -> None:
    """A gap, an end that never came, an event again, an event too late."""
    verdict = ledger_of(*seen)
    assert not verdict.clean
    assert (verdict.lost, verdict.twice, verdict.out_of_order) == sums
    assert verdict.cases


def test_gap_that_was_told() -> None:
    """A reset after a loss of data excuses the gap, once."""
    assert ledger_of(1, "reset", 3, losses=1).clean
    assert ledger_of(1, "reset", losses=1).clean
    assert ledger_of(1, 2, "reset", 2, 3, losses=1).clean  # published again: its key was lost too
    assert not ledger_of(1, "reset", 3, losses=0).clean
    assert not ledger_of(1, "reset", "reset", 3, losses=1).clean
    assert not ledger_of("reset", 1, 3, losses=1).clean
