"""Sums of token usage."""

from __future__ import annotations

from typing import Protocol

import msgspec


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a user's answers of one model came to on one day. uncounted: answers whose upstream
    said nothing of tokens; the sums are without them.
    """

    day: str
    user: str
    model: str
    answers: int = 0
    answers_without_usage: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class UsageStore(Protocol):
    """Sums of usage by day, user and model. Raises BrokerUnavailable."""

    async def add(self, usage: UsageTotals) -> None:
        """One more answer, or several."""
        ...

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        """A day's sums (YYYY-MM-DD, UTC), of one user or of all."""
        ...
