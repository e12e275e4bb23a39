"""Topic presence: `presence.joined` and `presence.left`, published in the topics that have it.

The store in Redis records on which nodes a user follows a topic, so that a user with tabs on two
nodes joins once and leaves once. A node's entries expire unless it renews them: the users of a node
that died leave within half a minute.

A user who reconnects within a few seconds (a page reload, the next poll) has not left. A node that
drains removes nobody, so that its users have time to reach another node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hub.core.channel import CONSOLE_USER, Channel, topic_channel
from hub.core.event import encode_json
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import EventWriter, Publication
from hub.ports.topic_presence import PresenceStore

_TICK_SECONDS: Final = 0.25
_LINGER_SECONDS: Final = 5.0
_RENEW_INTERVAL_SECONDS: Final = 8.0
_ENTRY_TTL_SECONDS: Final = 20.0
_MAX_USERS_PER_UPDATE: Final = 500


class TopicPresence:
    """Publishes the presence of this node's users.

    topics: the topics that have presence events; `*` at the end of a name is a wildcard.
    """

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
        # The number of connections with which each user follows a channel on this node.
        self._connection_counts: dict[Channel, Counter[str]] = {}
        self._joined: dict[Channel, set[str]] = {}  # not yet in the store
        # When a user's last connection ended; in the order of these times.
        self._left_at: dict[tuple[Channel, str], float] = {}
        self._unpublished: list[Publication] = []  # in the store, but not yet in the topic
        self._draining = False

    def drain(self) -> None:
        """Stop removing users. The entries of those who reach no other node expire."""
        self._draining = True

    def joined(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user follows these channels from now on."""
        if user == CONSOLE_USER:
            return
        for channel in channels:
            if self._is_enabled_for(channel):
                self._connection_counts.setdefault(channel, Counter())[user] += 1
                if self._left_at.pop((channel, user), None) is None:
                    self._joined.setdefault(channel, set()).add(user)

    def left(self, user: str, channels: Sequence[Channel]) -> None:
        """A connection of the user no longer follows these channels."""
        if user == CONSOLE_USER:
            return
        for channel in channels:
            if self._is_enabled_for(channel):
                self._connection_counts[channel][user] -= 1
                if not self._connection_counts[channel][user]:
                    del self._connection_counts[channel][user]
                    self._left_at[channel, user] = self._clock.now()
                if not self._connection_counts[channel]:
                    del self._connection_counts[channel]

    async def run(self) -> None:
        """Publish who joined and left, and renew the entries of the others, until cancelled.

        Raise BrokerUnavailable; when it is run again, it sends every entry again.
        """
        await self._publish_changes()
        renew_at = self._clock.now()
        while True:
            now = self._clock.now()
            absent = self._pop_departed(now)
            present: Mapping[Channel, Collection[str]]
            present, self._joined = self._joined, {}
            if now >= renew_at:
                present = self._connection_counts
                renew_at = now + _RENEW_INTERVAL_SECONDS
            try:
                for channel in {*absent, *present}:
                    users = tuple(present.get(channel, ()))
                    for start in range(0, max(1, len(users)), _MAX_USERS_PER_UPDATE):
                        batch = users[start : start + _MAX_USERS_PER_UPDATE]
                        await self._update_store(channel, batch, absent.get(channel, ()))
                        absent.pop(channel, None)
            except BrokerUnavailable:
                self._put_back(absent)
                raise
            await self._clock.sleep(_TICK_SECONDS)

    def _pop_departed(self, now: float) -> dict[Channel, list[str]]:
        """Remove and return the users that have not reconnected in time, by channel."""
        departed: dict[Channel, list[str]] = {}
        for (channel, user), at in tuple(self._left_at.items()):
            if self._draining or at > now - _LINGER_SECONDS:
                break  # the following ones left later
            del self._left_at[channel, user]
            departed.setdefault(channel, []).append(user)
        return departed

    def _put_back(self, departed: Mapping[Channel, Sequence[str]]) -> None:
        """Remove these users again at the next tick, unless they have reconnected meanwhile."""
        due_at = self._clock.now() - _LINGER_SECONDS
        due = {
            (channel, user): due_at
            for channel, users in departed.items()
            for user in users
            if user not in self._connection_counts.get(channel, ())
        }
        self._left_at = {**due, **self._left_at}  # in the order of the times

    async def _update_store(
        self, channel: Channel, present: Sequence[str], absent: Sequence[str]
    ) -> None:
        change = await self._store.update(
            channel, self._node, present, absent, seconds=_ENTRY_TTL_SECONDS
        )
        events = [("presence.joined", user) for user in change.joined]
        events += [("presence.left", user) for user in change.left]
        self._unpublished += [
            Publication(
                channel=channel,
                name=name,
                data=encode_json({"user": user, "users": change.users}),
            )
            for name, user in events
        ]
        await self._publish_changes()

    async def _publish_changes(self) -> None:
        if self._unpublished:
            await self._events.publish(self._unpublished)
            self._unpublished = []

    def _is_enabled_for(self, channel: Channel) -> bool:
        return channel in self._exact or channel.startswith(self._prefixes)
