"""Announces that items have expired while their users look at the counts.

The store removes the items of a user that have expired, with an event, whenever the user's inbox is
used. This module uses it shortly after an item expires. It remembers the items that its own process
publishes; what another process has published before it ended is announced at the next use.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final

import structlog

from hub.core.channel import Channel, user_of_channel
from hub.core.inbox import InboxOptions
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.inbox import InboxStore, ItemFilter

_MAX_SECONDS: Final = 86_400.0  # nobody looks at a page for longer without a request
_MAX_ITEMS: Final = 100_000
_TICK_SECONDS: Final = 0.5
_MARGIN_SECONDS: Final = 0.5  # the clock of the broker decides
_RETRY_SECONDS: Final = 5.0
_READS_AT_ONCE: Final = 32
_NO_ITEMS: Final = ItemFilter(limit=0)
_log = structlog.get_logger(__name__)


class ItemExpiry:
    """Remembers when items expire; `run` announces it."""

    def __init__(self, store: InboxStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._due: list[tuple[float, str]] = []  # a heap of times and users

    def add(self, channel: Channel, options: InboxOptions) -> None:
        """Remember an item that was published now.

        Items of topics, those that are kept for more than a day, and more than 100,000 are left to
        the next use of the inbox.
        """
        seconds, user = options.expires_seconds, user_of_channel(channel)
        if user is None or seconds is None or seconds > _MAX_SECONDS:
            return
        if len(self._due) < _MAX_ITEMS:
            self._add(seconds + _MARGIN_SECONDS, user)

    async def run(self) -> None:
        """Announce what expires, until cancelled."""
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            users = self._take_due()
            while users:
                batch, users = users[:_READS_AT_ONCE], users[_READS_AT_ONCE:]
                errors = await asyncio.gather(*map(self._announce, batch))
                failed = [user for user, error in zip(batch, errors, strict=True) if error]
                if failed:  # most likely all others would fail, too
                    users += failed
                    _log.warning(
                        "inbox.expiry_not_announced",
                        users=len(users),
                        error=next(str(error) for error in errors if error),
                    )
                    for user in users:
                        self._add(_RETRY_SECONDS, user)
                    break

    async def _announce(self, user: str) -> BrokerUnavailable | None:
        try:
            await self._store.read(user, _NO_ITEMS)
        except BrokerUnavailable as error:
            return error
        return None

    def _add(self, seconds: float, user: str) -> None:
        heapq.heappush(self._due, (self._clock.now() + seconds, user))

    def _take_due(self) -> list[str]:
        """Remove the items that have expired; return their users, each once."""
        users: dict[str, None] = {}
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            users[heapq.heappop(self._due)[1]] = None
        return list(users)
