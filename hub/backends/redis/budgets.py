"""The stored bytes of each user in Redis: one hash in the partition of the user's channel."""

from __future__ import annotations

from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.events import to_milliseconds
from hub.backends.redis.keys import budget_key

_CHARGE: Final = Script("hub.backends.redis", "charge_budget")
_INTERVALS: Final = 60


class RedisBudgetStore:
    """Implements ports.budgets.BudgetStore. seconds: how long bytes are stored."""

    def __init__(self, client: RedisClient, *, seconds: float) -> None:
        self._client = client
        self._ms = to_milliseconds(seconds)

    async def charge(self, user: str, size_bytes: int, max_bytes: int) -> float:
        partition, key = budget_key(user)
        arguments = (size_bytes, max_bytes, self._ms, _INTERVALS)
        (wait_ms,) = await self._client.run([ScriptCall(_CHARGE, partition, (key,), arguments)])
        return float(wait_ms) / 1000

    async def read(self, user: str) -> int:
        partition, key = budget_key(user)
        return sum(map(int, await self._client.call_key(partition, "HVALS", key)))

    async def erase(self, user: str) -> None:
        partition, key = budget_key(user)
        await self._client.call_key(partition, "DEL", key)
