"""The bytes that each user has made the backend store."""

from __future__ import annotations

from typing import Protocol


class BudgetStore(Protocol):
    """Sums of stored bytes by user, over the time for which they are stored."""

    async def charge(self, user: str, size_bytes: int, max_bytes: int) -> float:
        """Add to a user's sum, atomically, unless it would exceed `max_bytes`.

        size_bytes: a negative number takes back what was added and not stored. Return 0, or after
        how many seconds the sum may have room. Raise BrokerUnavailable.
        """
        ...

    async def read(self, user: str) -> int:
        """Return a user's sum in bytes. Raise BrokerUnavailable."""
        ...

    async def erase(self, user: str) -> None:
        """Forget a user's sum. Raise BrokerUnavailable."""
        ...
