"""Who is not let in for now: blocked users and revoked tokens, each until a time."""

from __future__ import annotations

from collections.abc import Mapping

USER = "user "
TOKEN = "token "  # noqa: S105 - a prefix, not a secret


class Denials:
    """What this node knows of them. Times are Unix seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def replace(self, until: Mapping[str, float]) -> None:
        """These are all."""
        self._until = dict(until)

    def add(self, subject: str, until: float) -> None:
        """One more; `subject` is USER and a user's id, or TOKEN and a token's `jti`."""
        self._until[subject] = max(until, self._until.get(subject, 0.0))

    def until(self, subject: str, now: float) -> float | None:
        """Until when it is denied; None when it is not."""
        until = self._until.get(subject)
        if until is None or until <= now:
            return None
        return until
