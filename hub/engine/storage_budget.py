"""How much each user may make the hub store: requests with their prompts, and tickets.

The log of a channel has bounds of its own, and the number of answers that run at once is limited. A
user who starts and stops answers, or requests tickets, would otherwise fill the memory of Redis.
"""

from __future__ import annotations

import math
from typing import Final

from hub.error_codes import STORAGE_BUDGET_EXCEEDED
from hub.errors import TooManyRequests
from hub.ports.budgets import BudgetStore

RECORD_BYTES: Final = 1024
"""What a record needs beside its content: keys, fields, and the events of its start and end."""


class StorageBudget:
    """Charges each user for what is stored. max_bytes: None means no limit."""

    def __init__(self, store: BudgetStore, *, max_bytes: int | None) -> None:
        self._store = store
        self.max_bytes = max_bytes

    async def charge(self, user: str, size_bytes: int) -> None:
        """Charge for what will be stored. Raise TooManyRequests, BrokerUnavailable."""
        if self.max_bytes is None:
            return
        size_bytes += RECORD_BYTES
        wait_seconds = await self._store.charge(user, size_bytes, self.max_bytes)
        if wait_seconds > 0:
            raise TooManyRequests(
                f"the requests of this user would exceed the {self.max_bytes} bytes that the hub "
                "stores for a user; try again later",
                code=STORAGE_BUDGET_EXCEEDED,
                limit="stored_bytes",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )

    async def refund(self, user: str, size_bytes: int) -> None:
        """Take back the charge for what was not stored. Raise BrokerUnavailable."""
        if self.max_bytes is not None:
            await self._store.charge(user, -(size_bytes + RECORD_BYTES), self.max_bytes)

    async def used_bytes(self, user: str) -> int:
        """Return how much is stored for a user. Raise BrokerUnavailable."""
        return await self._store.read(user)
