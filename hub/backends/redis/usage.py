"""Usage totals in Redis: one hash for each day and each partition of users."""

from __future__ import annotations

import asyncio
from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.events import to_milliseconds
from hub.backends.redis.keys import usage_key
from hub.core.channel import PARTITIONS, partition_of, user_channel
from hub.core.usage import MAX_MODELS_PER_DAY, OTHER_MODELS
from hub.ports.usage import UsageTotals

_ADD: Final = Script("hub.backends.redis", "add_usage", needs_memory=False)
_MODELS: Final = "models"  # the field with the number of a user's models
_COUNTERS: Final = ("answers", "answers_without_usage", "prompt_tokens", "completion_tokens")


class RedisUsageStore:
    """Implements ports.usage.UsageStore.

    ttl_seconds: how long the totals of a day outlive their last change.
    """

    def __init__(self, client: RedisClient, *, ttl_seconds: float) -> None:
        self._client = client
        self._ttl_ms = to_milliseconds(ttl_seconds)

    async def add(self, usage: UsageTotals) -> None:
        partition = partition_of(user_channel(usage.user))
        counters = [part for name in _COUNTERS for part in (name, getattr(usage, name))]
        arguments = (
            usage.user,
            usage.model,
            OTHER_MODELS,
            MAX_MODELS_PER_DAY,
            self._ttl_ms,
            *counters,
        )
        await self._client.run(
            [ScriptCall(_ADD, partition, (usage_key(partition, usage.day),), arguments)]
        )

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        partitions = range(PARTITIONS) if user is None else [partition_of(user_channel(user))]
        replies = await asyncio.gather(
            *(self._client.call_key(each, "HGETALL", usage_key(each, day)) for each in partitions)
        )
        totals: dict[tuple[str, str], dict[str, int]] = {}
        for reply in replies:
            for field, number in zip(reply[::2], reply[1::2], strict=True):
                counter, owner, *model = field.decode().split(" ", 2)
                if counter != _MODELS and user in (None, owner):
                    totals.setdefault((owner, *model), {})[counter] = int(number)
        return [
            UsageTotals(day=day, user=owner, model=model, **counters)
            for (owner, model), counters in sorted(totals.items())
        ]

    async def erase(self, day: str, user: str) -> None:
        partition = partition_of(user_channel(user))
        key = usage_key(partition, day)
        reply = await self._client.call_key(partition, "HGETALL", key)
        fields = [field for field in reply[::2] if field.decode().split(" ", 2)[1] == user]
        if fields:
            await self._client.call_key(partition, "HDEL", key, *fields)
