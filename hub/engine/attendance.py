"""Who follows a topic, told in it: `presence.joined` and `presence.left`, where it is asked for.

The book in Redis counts the nodes on which a user follows a topic, so a user with tabs on two nodes
joins once and leaves once. What a node says of its users expires unless it says so again: those of
a node that died leave within half a minute.

A user who is back within a few seconds (a reload, the next poll) never left; and a node that drains
says nothing, so that its users have time to reach another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hub.core.channel import Channel, topic_channel
from hub.core.event import encode_json
from hub.ports import AttendanceBook, Broker, Clock, Publication

_TICK_SECONDS: Final = 0.25
_LINGER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 8.0
_GHOST_SECONDS: Final = 20.0
_MOST_AT_ONCE: Final = 500


class Attendance:
    """One node's part. topics: whose comings and goings are told, `*` at the end for any rest."""

    def __init__(
        self,
        book: AttendanceBook,
        broker: Broker,
        clock: Clock,
        topics: Collection[str],
        *,
        node: str,
    ) -> None:
        self._book = book
        self._broker = broker
        self._clock = clock
        self._node = node
        self._exact = {topic_channel(topic) for topic in topics if not topic.endswith("*")}
        self._prefixes = tuple(topic_channel(t[:-1]) for t in topics if t.endswith("*"))
        self._here: dict[Channel, Counter[str]] = {}
        self._came: dict[Channel, set[str]] = {}
        self._left_at: dict[tuple[Channel, str], float] = {}
        self._untold: list[Publication] = []  # the book has it, the topic not yet
        self._draining = False

    def drain(self) -> None:
        """From now on nobody leaves: those who reach no other node do, as those of a node that
        died.
        """
        self._draining = True

    def came(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user follows these from now on."""
        for channel in channels:
            if self._is_told(channel):
                self._here.setdefault(channel, Counter())[user] += 1
                if self._left_at.pop((channel, user), None) is None:
                    self._came.setdefault(channel, set()).add(user)

    def went(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user follows these no more."""
        for channel in channels:
            if self._is_told(channel):
                self._here[channel][user] -= 1
                if not self._here[channel][user]:
                    del self._here[channel][user]
                    self._left_at[channel, user] = self._clock.now()
                if not self._here[channel]:
                    del self._here[channel]

    async def keep(self) -> None:
        """Tells who came and went, and that the others are still here, until cancelled. Raises
        BrokerUnavailable; begun again, it tells everything again.
        """
        await self._tell()
        again_at = self._clock.now()
        while True:
            now = self._clock.now()
            gone = self._take_gone(now)
            here: Mapping[Channel, Collection[str]]
            here, self._came = self._came, {}
            if now >= again_at:
                here = self._here
                again_at = now + _AGAIN_SECONDS
            for channel in {*gone, *here}:
                users = tuple(here.get(channel, ()))
                for start in range(0, max(1, len(users)), _MOST_AT_ONCE):
                    some = users[start : start + _MOST_AT_ONCE]
                    await self._note(channel, some, gone.pop(channel, ()))
            await self._clock.sleep(_TICK_SECONDS)

    def _take_gone(self, now: float) -> dict[Channel, list[str]]:
        """Those who did not come back in time; of the rest each left later than the one before."""
        gone: dict[Channel, list[str]] = {}
        for (channel, user), at in tuple(self._left_at.items()):
            if self._draining or at > now - _LINGER_SECONDS:
                break
            del self._left_at[channel, user]
            gone.setdefault(channel, []).append(user)
        return gone

    async def _note(self, channel: Channel, here: Sequence[str], gone: Sequence[str]) -> None:
        changes = await self._book.note(channel, self._node, here, gone, seconds=_GHOST_SECONDS)
        told = [("presence.joined", user) for user in changes.joined]
        told += [("presence.left", user) for user in changes.left]
        self._untold += [
            Publication(
                channel=channel,
                name=name,
                data=encode_json({"user": user, "users": changes.users}),
            )
            for name, user in told
        ]
        await self._tell()

    async def _tell(self) -> None:
        if self._untold:
            await self._broker.publish(self._untold)
            self._untold = []

    def _is_told(self, channel: Channel) -> bool:
        return channel in self._exact or channel.startswith(self._prefixes)
