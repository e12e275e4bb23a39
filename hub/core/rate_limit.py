"""Rate limits with a burst of one second: TokenBucket refuses, LeakyBucket delays."""

from __future__ import annotations


class TokenBucket:
    """A token bucket: it gains `per_second` tokens a second and holds those of one second."""

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._left = max(1.0, per_second)  # tokens
        self._at = now  # when `_left` was true

    def take(self, now: float, count: int = 1) -> float:
        """Take `count` tokens and return 0, or return after how many seconds to try again.

        A full bucket gives more tokens than it holds; the next caller then waits longer. now: the
        clock's seconds.
        """
        full = max(1.0, self._per_second)
        self._left = min(full, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < min(count, full):
            return (min(count, full) - self._left) / self._per_second
        self._left -= count
        return 0.0


class LeakyBucket:
    """A leaky bucket: it lets `per_second` callers pass a second, in order of arrival."""

    __slots__ = ("_next", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = float("-inf")  # when the next caller may pass, minus the burst

    def delay(self, now: float) -> float:
        """Return how many seconds this caller must wait; 0 while a burst of one second lasts."""
        self._next = max(self._next, now - 1.0) + 1.0 / self._per_second
        wait = self._next - now
        return wait if wait > 1e-6 else 0.0
