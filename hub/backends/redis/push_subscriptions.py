"""Push subscriptions in Redis: a hash for each subscription and a sorted set of ids for each user.

The two are in different partitions, since an endpoint may move from one user to another. The hash
of the subscription names its user and alone decides: an id in a user's set counts only while the
hash names that user. So a crash between the two writes never sends to two users.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.keys import push_subscription_key, push_subscriptions_key
from hub.core.push_subscription import PushSubscription

_PACKAGE: Final = "hub.backends.redis"
_PUT: Final = Script(_PACKAGE, "put_push_subscription", is_repeatable=True)
_ADD: Final = Script(_PACKAGE, "add_push_subscription_id", is_repeatable=True)
_REMOVE: Final = Script(
    _PACKAGE, "remove_push_subscription", needs_memory=False, is_repeatable=True
)
_DROP: Final = Script(
    _PACKAGE, "remove_push_subscription_ids", needs_memory=False, is_repeatable=True
)
_LIST: Final = Script(_PACKAGE, "list_push_subscription_ids", needs_memory=False)
_READ: Final = Script(_PACKAGE, "read_push_subscription", needs_memory=False)


class RedisPushSubscriptionStore:
    """Implements ports.push.PushSubscriptionStore.

    max_per_user: how many subscriptions a user has. ttl_seconds: how long one is kept after it was
    put.
    """

    def __init__(self, client: RedisClient, *, max_per_user: int, ttl_seconds: float) -> None:
        self._client = client
        self._max_per_user = max_per_user
        self._ttl_ms = round(ttl_seconds * 1000)

    async def put(self, user: str, subscription: PushSubscription) -> bool:
        partition, key = push_subscription_key(subscription.id)
        data = msgspec.json.encode(subscription)
        call = ScriptCall(_PUT, partition, (key,), (user, data, self._ttl_ms))
        (before,) = await self._client.run([call])
        partition, key = push_subscriptions_key(user)
        arguments = (subscription.id, self._ttl_ms, self._max_per_user)
        (surplus,) = await self._client.run([ScriptCall(_ADD, partition, (key,), arguments)])
        for each in surplus:
            await self.remove(user, each.decode())
        if before and before != user.encode():
            await self._drop_ids(before.decode(), [subscription.id])
        return not before

    async def remove(self, user: str, subscription_id: str) -> bool:
        partition, key = push_subscription_key(subscription_id)
        call = ScriptCall(_REMOVE, partition, (key,), (user,))
        (removed,) = await self._client.run([call])
        await self._drop_ids(user, [subscription_id])
        return bool(removed)

    async def list(self, user: str) -> list[PushSubscription]:
        partition, key = push_subscriptions_key(user)
        (ids,) = await self._client.run([ScriptCall(_LIST, partition, (key,), (self._ttl_ms,))])
        calls = []
        for each in ids:
            partition, key = push_subscription_key(each.decode())
            calls.append(ScriptCall(_READ, partition, (key,), (user,)))
        replies: Sequence[Any] = await self._client.run(calls) if calls else ()
        return [msgspec.json.decode(data, type=PushSubscription) for data in replies if data]

    async def remove_all(self, user: str) -> None:
        for subscription in await self.list(user):
            await self.remove(user, subscription.id)
        partition, key = push_subscriptions_key(user)
        await self._client.call_key(partition, "DEL", key)

    async def _drop_ids(self, user: str, ids: Sequence[str]) -> None:
        partition, key = push_subscriptions_key(user)
        await self._client.run([ScriptCall(_DROP, partition, (key,), tuple(ids))])
