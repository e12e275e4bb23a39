"""Blocked users and revoked tokens, with their expiry times."""

from __future__ import annotations

from collections.abc import Collection, Mapping

USER = "user "
TOKEN = "token "  # noqa: S105 - a prefix, not a secret


class Denylist:
    """The blocked users and tokens that this node knows of. Times are Unix seconds.

    A subject is USER and a user id, or TOKEN and a token's `jti`.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # the expiry time of each subject

    def merge(self, until: Mapping[str, float], now: float) -> None:
        """Add the stored entries (the known ones may be newer), and remove those that are over.

        until: the expiry time of each subject.
        """
        for subject, time in until.items():
            self.add(subject, time)
        self._until = {subject: time for subject, time in self._until.items() if time > now}

    def current(self, now: float) -> Collection[str]:
        """Return the subjects that are blocked now."""
        return [subject for subject, until in self._until.items() if until > now]

    def add(self, subject: str, until: float) -> None:
        """Block a subject, unless it is blocked for longer already."""
        self._until[subject] = max(until, self._until.get(subject, 0.0))

    def blocked_until(self, subject: str, now: float) -> float | None:
        """Return the time until which a subject is blocked, or None."""
        until = self._until.get(subject)
        if until is None or until <= now:
            return None
        return until
