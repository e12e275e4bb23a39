"""So many in a second, with a burst of one second: refused (Bucket), or made to wait (Pace)."""

from __future__ import annotations


class TokenBucket:
    """A token bucket. Fills at `per_second`; holds what one second brings."""

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


class LeakyBucket:
    """Gives turns, first come, first served."""

    __slots__ = ("_next", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = float("-inf")

    def delay(self, now: float) -> float:
        """In how many seconds it is one's turn; 0 for as many as a second may bring at once."""
        self._next = max(self._next, now - 1.0) + 1.0 / self._per_second
        wait = self._next - now
        return wait if wait > 1e-6 else 0.0
