"""Who follows a topic, in Redis: two keys beside the topic's log, and one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hub.core.channel import Channel
from hub.ports import Attended
from hub.redislink import RedisLink, Script, ScriptCall
from hub.redislink.names import attendance_keys
from hub.redislink.wire import Word

_NOTE: Final = Script("hub.brokers.redis", "attendance")


class RedisAttendanceBook:
    """Implements ports.AttendanceBook."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def note(
        self,
        channel: Channel,
        node: str,
        here: Sequence[str],
        gone: Sequence[str],
        *,
        seconds: float,
    ) -> Attended:
        partition, until, users_key = attendance_keys(channel)
        args: list[Word] = [node, round(seconds * 1000), len(here), *here, *gone]
        (reply,) = await self._link.run([ScriptCall(_NOTE, partition, (until, users_key), args)])
        joined, left, users = reply
        return Attended([u.decode() for u in joined], [u.decode() for u in left], users)
