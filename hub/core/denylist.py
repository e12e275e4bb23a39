"""Who is not let in for now: blocked users and revoked tokens, each until a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

USER = "user "
TOKEN = "token "  # noqa: S105 - a prefix, not a secret


class Denylist:
    """What this node knows of them. Times are Unix seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def merge(self, until: Mapping[str, float], now: float) -> None:
        """What is stored. It adds to what is known, which may be newer; what is over is
        forgotten.
        """
        for subject, time in until.items():
            self.add(subject, time)
        self._until = {subject: time for subject, time in self._until.items() if time > now}

    def current(self, now: float) -> Collection[str]:
        """Who is denied."""
        return [subject for subject, until in self._until.items() if until > now]

    def add(self, subject: str, until: float) -> None:
        """One more; `subject` is USER and a user's id, or TOKEN and a token's `jti`."""
        self._until[subject] = max(until, self._until.get(subject, 0.0))

    def blocked_until(self, subject: str, now: float) -> float | None:
        """Until when it is denied; None when it is not."""
        until = self._until.get(subject)
        if until is None or until <= now:
            return None
        return until
