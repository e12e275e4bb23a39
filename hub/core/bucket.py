"""So many in a second, with a burst of one second: a token bucket."""

from __future__ import annotations


class Bucket:
    """Fills at `per_second`; holds what one second brings."""

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._left = max(1.0, per_second)
        self._at = now

    def take(self, now: float, count: int = 1) -> float:
        """Takes so many and returns 0, or returns the seconds after which they may be there. More
        than it holds may be taken when it is full: who takes a lot waits the longer afterwards.
        """
        full = max(1.0, self._per_second)
        self._left = min(full, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < min(count, full):
            return (min(count, full) - self._left) / self._per_second
        self._left -= count
        return 0.0
