"""The users of each topic in Redis: two keys beside the topic's log, and one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.keys import topic_presence_keys
from hub.core.channel import Channel
from hub.ports.topic_presence import PresenceChange

_UPDATE: Final = Script("hub.backends.redis", "update_topic_presence")


class RedisPresenceStore:
    """Implements ports.topic_presence.PresenceStore."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        partition, *keys = topic_presence_keys(channel)
        arguments: list[Argument] = [node, round(seconds * 1000), len(present), *present, *absent]
        (reply,) = await self._client.run([ScriptCall(_UPDATE, partition, keys, arguments)])
        joined, left, users = reply
        return PresenceChange(
            [user.decode() for user in joined], [user.decode() for user in left], users
        )
