"""A count of the last hour, kept in one number for each minute."""

from __future__ import annotations

from collections import deque
from typing import Final

MINUTES: Final = 60
_MINUTE_SECONDS: Final = 60.0


class HourCount:
    """Counts what happened within the last hour, to the minute."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, int]] = deque(maxlen=MINUTES)  # the minute, and its count

    def add(self, now: float) -> None:
        """Count one occurrence. now: seconds of a clock that never goes back."""
        minute = int(now // _MINUTE_SECONDS)
        count = self._minutes.pop()[1] if self._minutes and self._minutes[-1][0] == minute else 0
        self._minutes.append((minute, count + 1))

    def total(self, now: float) -> int:
        """Return the number of occurrences in the current minute and the 59 before it."""
        first = int(now // _MINUTE_SECONDS) - MINUTES + 1
        return sum(count for minute, count in self._minutes if minute >= first)
