"""Inboxes: the items that are kept for each user, and what the user has done with them.

The items of a user are written with the events of the user's channel: Publication.inbox in
hub/ports/events.py keeps an event as an item, in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hub.core.cursor import Position
from hub.core.inbox import ChangeTarget, InboxItem, ItemChange, ItemId


class ItemFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which items a page lists.

    limit: their number. before: only items before this one. category: only items of it. unread:
    only those that `unread` counts. archived: whether only archived ones or only others; None means
    both.
    """

    limit: int
    before: ItemId | None = None
    category: str | None = None
    unread: bool = False
    archived: bool | None = None


class InboxCounts(msgspec.Struct, frozen=True):
    """The counts of a user's own items, and the position of the user's channel at which they are
    true.
    """

    unread: int
    unseen: int
    position: Position


class InboxPage(msgspec.Struct, frozen=True):
    """Items of a user, the newest first, and the counts of all of the user's items."""

    items: Sequence[InboxItem]
    counts: InboxCounts


class ChangedItems(msgspec.Struct, frozen=True):
    """The outcome of a change. items: the ids of the items that are different now."""

    items: Sequence[str]
    counts: InboxCounts


class InboxStore(Protocol):
    """The items of all users.

    Each call first removes the items that have expired. Every change of a user's items, also that
    one, appends one event to the user's channel in the same atomic step (`inbox.item`,
    `inbox.changed`: hub/core/system_events.py), with the counts after it.
    """

    async def read(self, user: str, which: ItemFilter) -> InboxPage:
        """Return the newest items of a user that match. Raise BrokerUnavailable."""
        ...

    async def change(self, user: str, change: ItemChange, target: ChangeTarget) -> ChangedItems:
        """Change items of a user. Raise BrokerUnavailable."""
        ...

    async def erase(self, user: str) -> None:
        """Erase everything that is kept in the inbox of a user, without an event: the caller erases
        the events of the channel afterwards, which resets the clients. Raise BrokerUnavailable.
        """
        ...
