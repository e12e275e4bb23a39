"""The count of the last hour."""

from __future__ import annotations

from hub.core.sliding_count import MINUTES, HourCount


def test_only_the_last_hour_counts() -> None:
    """What is older is not counted, and one number for each minute is kept."""
    count = HourCount()
    for second in range(2 * 3600):
        count.add(float(second))
    assert count.total(2 * 3600 - 1) == 3600
    assert count.total(2 * 3600 + 600) == 3600 - 660
    assert count.total(4 * 3600) == 0
    assert len(count._minutes) == MINUTES
