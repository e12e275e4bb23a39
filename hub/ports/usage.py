"""Totals of token usage."""

from __future__ import annotations

from typing import Protocol

import msgspec


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The token usage of one user with one model on one day (YYYY-MM-DD, UTC).

    answers_without_usage: answers whose upstream reported no tokens; the totals do not have them.
    """

    day: str
    user: str
    model: str
    answers: int = 0
    answers_without_usage: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class UsageStore(Protocol):
    """Totals of usage by day, user and model. Every method raises BrokerUnavailable."""

    async def add(self, usage: UsageTotals) -> None:
        """Add to the totals, atomically. A total stays at 2^63 - 1 when it would be greater.

        The models of a user on a day beyond the first MAX_MODELS_PER_DAY count as OTHER_MODELS.
        """
        ...

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        """Return the totals of a day (YYYY-MM-DD, UTC), for one user or for all."""
        ...

    async def erase(self, day: str, user: str) -> None:
        """Erase the totals of a user on a day."""
        ...
