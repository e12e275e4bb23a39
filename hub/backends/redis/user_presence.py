"""The users of each node in Redis: a few keys in each partition, one script per change.

The scripts derive the other keys from the first one (lua/update_user_presence.lua).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.deliveries import encode_delivery, encode_limits
from hub.backends.redis.keys import connected_nodes_key, deliveries_key
from hub.core.channel import PARTITIONS, partition_of, user_channel
from hub.core.deliveries import DeliveryLimits
from hub.core.webhooks import WEBHOOK_QUEUE
from hub.ports.user_presence import Renewal, UserChange

_PACKAGE: Final = "hub.backends.redis"
_UPDATE: Final = Script(
    _PACKAGE, "channel_head", "deliveries", "update_user_presence", is_repeatable=True
)
_RENEW: Final = Script(
    _PACKAGE, "channel_head", "renew_user_presence", needs_memory=False, is_repeatable=True
)
_EXPIRED: Final = Script(
    _PACKAGE, "channel_head", "list_expired_users", needs_memory=False, is_repeatable=True
)
_KEEP_MS: Final = 3_600_000  # how long expired entries stay, so that a node can remove them
_CHANGES_PER_CALL: Final = 64  # a longer script would block other clients of the server
_OWN, _EXPIRED_NODE = "own", "expired"


class RedisUserPresenceStore:
    """Implements ports.user_presence.UserPresenceStore."""

    def __init__(self, client: RedisClient, limits: DeliveryLimits) -> None:
        self._client = client
        self._limits = encode_limits(limits)

    async def update(
        self, node: str, changes: Sequence[UserChange], *, seconds: float
    ) -> Collection[int]:
        by_partition: dict[int, list[UserChange]] = {}
        for change in changes:
            partition = partition_of(user_channel(change.user))
            by_partition.setdefault(partition, []).append(change)
        ttl_ms = round(seconds * 1000)
        calls = [
            self._call(partition, node, _OWN, ttl_ms, group[first : first + _CHANGES_PER_CALL])
            for partition, group in by_partition.items()
            for first in range(0, len(group), _CHANGES_PER_CALL)
        ]
        replies = await self._client.run(calls)
        return {call.partition for call, known in zip(calls, replies, strict=True) if not known}

    async def renew(self, node: str, partitions: Collection[int], *, seconds: float) -> Renewal:
        groups: list[Sequence[int]] = [range(PARTITIONS)]
        if self._client.sharded:
            groups = [[partition] for partition in range(PARTITIONS)]
        ttl_ms = round(seconds * 1000)
        calls = [
            ScriptCall(
                _RENEW,
                group[0],
                [connected_nodes_key(each) for each in group],
                [node, ttl_ms, _KEEP_MS, *(int(each in partitions) for each in group)],
            )
            for group in groups
        ]
        is_lost, expired = False, []
        for group, reply in zip(groups, await self._client.run(calls), strict=True):
            for partition, (lost, nodes) in zip(group, reply, strict=True):
                is_lost = is_lost or bool(lost)
                expired += [(partition, each.decode()) for each in nodes]
        return Renewal(is_lost, expired)

    async def expired_users(self, partition: int, node: str, limit: int) -> Sequence[str]:
        call = ScriptCall(_EXPIRED, partition, [connected_nodes_key(partition)], [node, limit])
        (reply,) = await self._client.run([call])
        return [user.decode() for user in reply]

    async def remove_expired(
        self, partition: int, node: str, changes: Sequence[UserChange]
    ) -> None:
        await self._client.run([self._call(partition, node, _EXPIRED_NODE, 0, changes)])

    def _call(
        self, partition: int, node: str, mode: str, ttl_ms: int, changes: Sequence[UserChange]
    ) -> ScriptCall:
        arguments: list[Argument] = [node, ttl_ms, _KEEP_MS, mode, self._limits]
        for change in changes:
            arguments += [change.user, int(change.is_present), len(change.deliveries)]
            for delivery in change.deliveries:
                arguments += [delivery.channel, *encode_delivery(delivery)]
        keys = [connected_nodes_key(partition), deliveries_key(partition, WEBHOOK_QUEUE)]
        return ScriptCall(_UPDATE, partition, keys, arguments)
