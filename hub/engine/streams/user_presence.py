"""The events `user.connected` and `user.disconnected` of webhooks.

The store knows which nodes a user is connected to, and adds the deliveries in the same step in
which the first node of a user is added or the last one removed. So two nodes that change at once
send one event, and none is lost with a node.

Rules:
1. Nothing is written while no webhook wants the events. Users who are connected when the first such
   webhook is created have no `user.connected`.
2. A user is removed GRACE_SECONDS after the last connection on this node has ended. A user who is
   back by then, on any node, has no events. A node that drains removes nobody.
3. A node renews its entries. When it is killed, they expire, and another node removes its users:
   at most ENTRY_SECONDS + RENEW_SECONDS after the last renewal, and some ticks.
4. A node whose entries have expired all the same, for example because the broker was away, adds its
   users again under another name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Final

import structlog

from hub.core.channel import CONSOLE_USER, partition_of, user_channel
from hub.ports.clock import Clock
from hub.ports.user_presence import UserChange, UserPresenceStore
from hub.ports.webhooks import EventDeliveries

USER_CONNECTED: Final = "user.connected"
USER_DISCONNECTED: Final = "user.disconnected"
GRACE_SECONDS: Final = 10.0
RENEW_SECONDS: Final = 10.0
ENTRY_SECONDS: Final = 30.0
_TICK_SECONDS: Final = 0.25
_MAX_USERS_PER_UPDATE: Final = 500
_MAX_USERS_PER_SWEEP: Final = 64
_log = structlog.get_logger(__name__)


class UserPresence:
    """Tells webhooks which users are connected.

    is_wanted: returns whether a webhook gets the events; None while this is not known.
    """

    def __init__(
        self,
        store: UserPresenceStore,
        webhooks: EventDeliveries,
        clock: Clock,
        is_wanted: Callable[[], bool | None],
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._clock = clock
        self._is_wanted = is_wanted
        self._users: set[str] = set()  # with a connection on this node
        self._node: str | None = None  # the name in the store; None while nothing is written
        self._partitions: set[int] = set()  # in which the node has entries
        self._joined: dict[str, bool] = {}  # not yet in the store; whether it is an event
        self._left_at: dict[str, float] = {}  # in the store, without a connection
        self._renew_at = 0.0
        self._was_unwanted = False
        self._draining = False

    def drain(self) -> None:
        """Stop removing users. The entries of those who reach no other node expire."""
        self._draining = True

    def connected(self, user: str) -> None:
        """The user has the first connection on this node."""
        if user == CONSOLE_USER:
            return
        self._users.add(user)
        if self._node is not None and self._left_at.pop(user, None) is None:
            self._joined.setdefault(user, True)

    def disconnected(self, user: str) -> None:
        """The user has no connection on this node any more."""
        if user == CONSOLE_USER:
            return
        self._users.discard(user)
        if self._node is not None:
            self._left_at[user] = self._clock.now()

    async def run(self) -> None:
        """Write changes and renew entries, until cancelled. Raise BrokerUnavailable."""
        while True:
            is_wanted = self._is_wanted()
            if is_wanted:
                await self._write()
            elif is_wanted is not None:
                self._node, self._was_unwanted = None, True
            await self._clock.sleep(_TICK_SECONDS)

    async def _write(self) -> None:
        node = self._node or self._begin(are_events=not self._was_unwanted)
        self._was_unwanted = False
        while joined := dict(islice(self._joined.items(), _MAX_USERS_PER_UPDATE)):
            changes = [self._change(user, True, is_event) for user, is_event in joined.items()]
            if not await self._update(node, changes):
                return
            for user in joined:
                self._joined.pop(user, None)
        while departed := self._departed():
            if not await self._remove(node, departed):
                return
        if (now := self._clock.now()) >= self._renew_at:
            renewal = await self._store.renew(node, self._partitions, seconds=ENTRY_SECONDS)
            self._renew_at = now + RENEW_SECONDS
            if renewal.is_lost:
                self._begin_again()
            for partition, dead in renewal.expired:
                await self._sweep(partition, dead)

    def _departed(self) -> dict[str, float]:
        """Return users who have not come back, and when they left; not more than for one update."""
        if self._draining:
            return {}
        limit = self._clock.now() - GRACE_SECONDS
        departed = ((user, at) for user, at in self._left_at.items() if at <= limit)
        return dict(islice(departed, _MAX_USERS_PER_UPDATE))

    async def _remove(self, node: str, departed: Mapping[str, float]) -> bool:
        """Remove users who have left; return whether the entries are still held."""
        for user in departed:
            del self._left_at[user]  # a user who returns meanwhile is added again
        try:
            return await self._update(node, [self._change(user, False) for user in departed])
        except BaseException:
            self._left_at |= {u: at for u, at in departed.items() if u not in self._users}
            raise

    async def _update(self, node: str, changes: Collection[UserChange]) -> bool:
        new = set(await self._store.update(node, list(changes), seconds=ENTRY_SECONDS))
        if new & self._partitions:
            self._begin_again()
            return False
        self._partitions |= {partition_of(user_channel(change.user)) for change in changes}
        return True

    def _begin(self, *, are_events: bool) -> str:
        """Add all users of this node under a new name, and return the name."""
        self._node = node = secrets.token_hex(8)
        self._partitions, self._left_at = set(), {}
        self._joined = dict.fromkeys(self._users, are_events)
        self._renew_at = self._clock.now()
        return node

    def _begin_again(self) -> None:
        _log.warning("user_presence.expired", users=len(self._users))
        self._begin(are_events=True)

    async def _sweep(self, partition: int, node: str) -> None:
        """Remove the users of a node that has not renewed its entries."""
        while users := await self._store.expired_users(partition, node, _MAX_USERS_PER_SWEEP):
            changes = [self._change(user, False) for user in users]
            await self._store.remove_expired(partition, node, changes)

    def _change(self, user: str, is_present: bool, is_event: bool = True) -> UserChange:
        if not is_event:
            return UserChange(user, is_present)
        name = USER_CONNECTED if is_present else USER_DISCONNECTED
        return UserChange(user, is_present, self._webhooks.build(name, user_channel(user), {}))
