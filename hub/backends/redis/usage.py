"""Sums of usage in Redis: a hash for each day and partition of users."""

from __future__ import annotations

import asyncio
from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.events import to_milliseconds
from hub.backends.redis.keys import usage_key
from hub.core.channel import PARTITIONS, partition_of, user_channel
from hub.ports.usage import UsageTotals

_ADD: Final = Script("hub.backends.redis", "add_usage")
_SUMS: Final = ("answers", "answers_without_usage", "prompt_tokens", "completion_tokens")


class RedisUsageStore:
    """Implements ports.UsageLedger."""

    def __init__(self, link: RedisClient, *, ttl_seconds: float) -> None:
        self._link = link
        self._ttl_ms = to_milliseconds(ttl_seconds)

    async def add(self, usage: UsageTotals) -> None:
        partition = partition_of(user_channel(usage.user))
        sums = [word for name in _SUMS for word in (name, getattr(usage, name))]
        args = (f"{usage.user} {usage.model}", self._ttl_ms, *sums)
        await self._link.run(
            [ScriptCall(_ADD, partition, (usage_key(partition, usage.day),), args)]
        )

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        partitions = range(PARTITIONS) if user is None else [partition_of(user_channel(user))]
        replies = await asyncio.gather(
            *(self._link.call(each, "HGETALL", usage_key(each, day)) for each in partitions)
        )
        found: dict[tuple[str, str], dict[str, int]] = {}
        for reply in replies:
            for field, number in zip(reply[::2], reply[1::2], strict=True):
                what, whose, model = field.decode().split(" ", 2)
                if user is None or whose == user:
                    found.setdefault((whose, model), {})[what] = int(number)
        return [
            UsageTotals(day=day, user=whose, model=model, **sums)
            for (whose, model), sums in sorted(found.items())
        ]
