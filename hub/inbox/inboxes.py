"""A user's inbox: the user's own items, and the counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hub.core.cursor import Position
from hub.core.inbox import ChangeTarget, InboxItem, ItemChange
from hub.ports.inbox import InboxStore, ItemFilter


class AllCounts(msgspec.Struct, frozen=True, kw_only=True):
    """unread, unseen: the counts of the user's own items at a position of the user's channel.
    topic_unread, topic_unseen: those of the items of topics and `all`.
    """

    unread: int
    unseen: int
    topic_unread: int = 0
    topic_unseen: int = 0
    position: Position


class ListedItems(msgspec.Struct, frozen=True):
    """One page of items. next: the id before which the next page begins, None on the last one."""

    items: Sequence[InboxItem]
    counts: AllCounts
    next: str | None


class Inboxes:
    """Lists and changes the items of users."""

    def __init__(self, store: InboxStore) -> None:
        self._store = store

    async def list(self, user: str, which: ItemFilter) -> ListedItems:
        """Return the newest items that match. Raise BrokerUnavailable."""
        limit = which.limit
        page = await self._store.read(user, msgspec.structs.replace(which, limit=limit + 1))
        counts = page.counts
        return ListedItems(
            page.items[:limit],
            AllCounts(unread=counts.unread, unseen=counts.unseen, position=counts.position),
            page.items[limit - 1].id if len(page.items) > limit else None,
        )

    async def change(self, user: str, change: ItemChange, target: ChangeTarget) -> AllCounts:
        """Change items, and return the counts after it. Raise BrokerUnavailable."""
        counts = (await self._store.change(user, change, target)).counts
        return AllCounts(unread=counts.unread, unseen=counts.unseen, position=counts.position)
