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
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Publication
from hub.ports.topic_presence import PresenceStore

_TICK_SECONDS: Final = 0.25
_LINGER_SECONDS: Final = 5.0
_RENEW_INTERVAL_SECONDS: Final = 8.0
_ENTRY_TTL_SECONDS: Final = 20.0
_MAX_USERS_PER_UPDATE: Final = 500


class TopicPresence:
    """One node's part. topics: whose comings and goings are told, `*` at the end for any rest."""

    def __init__(
        self,
        store: PresenceStore,
        events: EventWriter,
        clock: Clock,
        topics: Collection[str],
        *,
        node: str,
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._node = node
        self._exact = {topic_channel(topic) for topic in topics if not topic.endswith("*")}
        self._prefixes = tuple(topic_channel(t[:-1]) for t in topics if t.endswith("*"))
        self._connections_by_user: dict[Channel, Counter[str]] = {}
        self._joined: dict[Channel, set[str]] = {}
        self._left_at: dict[tuple[Channel, str], float] = {}
        self._unpublished: list[Publication] = []  # the book has it, the topic not yet
        self._draining = False

    def drain(self) -> None:
        """From now on nobody leaves: those who reach no other node do, as those of a node that
        died.
        """
        self._draining = True

    def joined(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user follows these from now on."""
        for channel in channels:
            if self._is_enabled_for(channel):
                self._connections_by_user.setdefault(channel, Counter())[user] += 1
                if self._left_at.pop((channel, user), None) is None:
                    self._joined.setdefault(channel, set()).add(user)

    def left(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user follows these no more."""
        for channel in channels:
            if self._is_enabled_for(channel):
                self._connections_by_user[channel][user] -= 1
                if not self._connections_by_user[channel][user]:
                    del self._connections_by_user[channel][user]
                    self._left_at[channel, user] = self._clock.now()
                if not self._connections_by_user[channel]:
                    del self._connections_by_user[channel]

    async def run(self) -> None:
        """Tells who came and went, and that the others are still here, until cancelled. Raises
        BrokerUnavailable; begun again, it tells everything again.
        """
        await self._publish_changes()
        again_at = self._clock.now()
        while True:
            now = self._clock.now()
            gone = self._pop_departed(now)
            here: Mapping[Channel, Collection[str]]
            here, self._joined = self._joined, {}
            if now >= again_at:
                here = self._connections_by_user
                again_at = now + _RENEW_INTERVAL_SECONDS
            for channel in {*gone, *here}:
                users = tuple(here.get(channel, ()))
                for start in range(0, max(1, len(users)), _MAX_USERS_PER_UPDATE):
                    some = users[start : start + _MAX_USERS_PER_UPDATE]
                    await self._update_store(channel, some, gone.pop(channel, ()))
            await self._clock.sleep(_TICK_SECONDS)

    def _pop_departed(self, now: float) -> dict[Channel, list[str]]:
        """Those who did not come back in time; of the rest each left later than the one before."""
        gone: dict[Channel, list[str]] = {}
        for (channel, user), at in tuple(self._left_at.items()):
            if self._draining or at > now - _LINGER_SECONDS:
                break
            del self._left_at[channel, user]
            gone.setdefault(channel, []).append(user)
        return gone

    async def _update_store(
        self, channel: Channel, here: Sequence[str], gone: Sequence[str]
    ) -> None:
        changes = await self._store.update(
            channel, self._node, here, gone, seconds=_ENTRY_TTL_SECONDS
        )
        told = [("presence.joined", user) for user in changes.joined]
        told += [("presence.left", user) for user in changes.left]
        self._unpublished += [
            Publication(
                channel=channel,
                name=name,
                data=encode_json({"user": user, "users": changes.users}),
            )
            for name, user in told
        ]
        await self._publish_changes()

    async def _publish_changes(self) -> None:
        if self._unpublished:
            await self._events.publish(self._unpublished)
            self._unpublished = []

    def _is_enabled_for(self, channel: Channel) -> bool:
        return channel in self._exact or channel.startswith(self._prefixes)
