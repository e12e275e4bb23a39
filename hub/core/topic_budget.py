"""How many new topics each user may follow in a minute."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_WINDOW_SECONDS: Final = 60.0


class _Window:
    """The topics of one user in this minute and in the one before."""

    __slots__ = ("count", "current", "previous", "started_at")

    def __init__(self, now: float) -> None:
        self.started_at = now
        self.count = 0  # the new topics in this minute
        self.current: set[str] = set()
        self.previous: set[str] = set()

    def advance(self, now: float) -> None:
        """Begin the minute of `now`, if it is another one."""
        age = now - self.started_at
        if age < _WINDOW_SECONDS:
            return
        self.previous = self.current if age < 2 * _WINDOW_SECONDS else set()
        self.current, self.count = set(), 0
        self.started_at += age // _WINDOW_SECONDS * _WINDOW_SECONDS


class TopicBudget:
    """Limits the new topics of each user.

    Rules:
    1. A topic is new unless the user followed it in this minute or in the one before: a client that
       reconnects with the same topics uses up nothing.
    2. A request is accepted or refused as a whole.
    3. The memory is bounded: users without a request for two minutes are forgotten.
    """

    def __init__(self, max_per_minute: int) -> None:
        self._max_per_minute = max_per_minute
        self._windows: dict[str, _Window] = {}
        self._swept_at = float("-inf")

    def take(self, user: str, topics: Collection[str], now: float) -> float:
        """Take the topics and return 0, or return after how many seconds to try again.

        now: the clock's seconds.
        """
        if not topics:
            return 0.0
        self._sweep(now)
        window = self._windows.get(user)
        if window is None:
            window = self._windows[user] = _Window(now)
        window.advance(now)
        new = [t for t in topics if t not in window.current and t not in window.previous]
        if window.count + len(new) > self._max_per_minute:
            return window.started_at + _WINDOW_SECONDS - now
        window.count += len(new)
        window.current.update(topics)
        return 0.0

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < _WINDOW_SECONDS:
            return
        self._swept_at = now
        self._windows = {
            user: window
            for user, window in self._windows.items()
            if now - window.started_at < 2 * _WINDOW_SECONDS
        }
