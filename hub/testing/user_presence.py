"""The users of each node in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hub.core.channel import partition_of, user_channel
from hub.core.cursor import Position
from hub.core.deliveries import Delivery
from hub.ports.user_presence import Renewal, UserChange

_Key = tuple[int, str]  # the partition and the node


class MemoryUserPresenceStore:
    """Implements ports.user_presence.UserPresenceStore.

    now: returns a time in seconds. calls: the number of calls.
    """

    def __init__(
        self, now: Callable[[], float], add_delivery: Callable[[Delivery, Position | None], None]
    ) -> None:
        self._now = now
        self._add_delivery = add_delivery
        self._users: dict[_Key, set[str]] = {}
        self._expiry: dict[_Key, float] = {}
        self.calls = 0

    async def update(
        self, node: str, changes: Sequence[UserChange], *, seconds: float
    ) -> Collection[int]:
        self.calls += 1
        now, new = self._now(), set()
        for partition in {partition_of(user_channel(change.user)) for change in changes}:
            key = partition, node
            if key not in self._expiry or self._expiry[key] <= now:
                new.add(partition)
            if self._expiry.get(key, now + 1) > now:
                group = [c for c in changes if partition_of(user_channel(c.user)) == partition]
                self._expiry[key] = now + seconds
                self._change(key, group)
        return new

    async def renew(self, node: str, partitions: Collection[int], *, seconds: float) -> Renewal:
        self.calls += 1
        now, is_lost = self._now(), False
        for key in [(partition, node) for partition in partitions]:
            if self._expiry.get(key, 0.0) > now:
                self._expiry[key] = now + seconds
            else:
                is_lost = True
        return Renewal(is_lost, [key for key, expiry in self._expiry.items() if expiry <= now])

    async def expired_users(self, partition: int, node: str, limit: int) -> Sequence[str]:
        self.calls += 1
        key = partition, node
        if self._expiry.get(key, self._now() + 1) > self._now():
            return []
        users = sorted(self._users.get(key, ()))[:limit]
        if not users:
            del self._expiry[key]
        return users

    async def remove_expired(
        self, partition: int, node: str, changes: Sequence[UserChange]
    ) -> None:
        self.calls += 1
        if self._expiry.get((partition, node), self._now() + 1) <= self._now():
            self._change((partition, node), changes)

    def _change(self, key: _Key, changes: Sequence[UserChange]) -> None:
        users = self._users.setdefault(key, set())
        for change in changes:
            before = self._is_connected(change.user)
            if change.is_present:
                users.add(change.user)
            else:
                users.discard(change.user)
            if self._is_connected(change.user) != before:
                for delivery in change.deliveries:
                    self._add_delivery(delivery, None)

    def _is_connected(self, user: str) -> bool:
        return any(user in users for users in self._users.values())
