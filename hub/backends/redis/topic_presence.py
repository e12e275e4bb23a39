"""Who follows a topic, in Redis: two keys beside the topic's log, and one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.keys import topic_presence_keys
from hub.core.channel import Channel
from hub.ports.topic_presence import PresenceChange

_NOTE: Final = Script("hub.backends.redis", "update_topic_presence")


class RedisPresenceStore:
    """Implements ports.AttendanceBook."""

    def __init__(self, link: RedisClient) -> None:
        self._link = link

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        partition, until, users_key = topic_presence_keys(channel)
        args: list[Argument] = [node, round(seconds * 1000), len(present), *present, *absent]
        (reply,) = await self._link.run([ScriptCall(_NOTE, partition, (until, users_key), args)])
        joined, left, users = reply
        return PresenceChange([u.decode() for u in joined], [u.decode() for u in left], users)
