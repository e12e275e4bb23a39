"""Inboxes: the items that are kept for each user, and what the user has done with them.

The items of a user are written with the events of the user's channel: Publication.inbox in
hub/ports/events.py keeps an event as an item, in the same atomic step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.deliveries import Delivery
from hub.core.inbox import ChangeTarget, InboxItem, ItemChange, ItemFlags, ItemId
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.core.shared_items import SharedEntry


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
    """Items of a user, the newest first, the counts of all of the user's items, and the user's
    settings.
    """

    items: Sequence[InboxItem]
    counts: InboxCounts
    settings: InboxSettings


class SharedChange(msgspec.Struct, frozen=True):
    """A change of a user's states of the items of topics and `all`.

    states: by source the text of the state before, "" for none, and the one after. items: the ids
    of the items that are different then.
    """

    states: Mapping[str, tuple[str, str]] = {}
    items: Sequence[str] = ()


NO_SHARED_CHANGE: Final = SharedChange()


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

    async def change(
        self,
        user: str,
        change: ItemChange,
        target: ChangeTarget,
        shared: SharedChange = NO_SHARED_CHANGE,
        deliveries: Sequence[Delivery] = (),
    ) -> ChangedItems | None:
        """Change the user's own items, and the user's states of shared ones, in one step.

        `inbox.changed` names the items of both. Return None if a state is not what it was: then
        nothing has changed. Raise BrokerUnavailable.

        deliveries: of the queue `webhook` and the user's channel. They are added if an item
        changed. Their bodies end with `[]}}`; the ids of the items come into this list.
        """
        ...

    async def read_shared(
        self, channels: Sequence[Channel]
    ) -> Mapping[Channel, Sequence[SharedEntry]]:
        """Return all items of topics and `all`, without their data. Raise BrokerUnavailable."""
        ...

    async def find_shared(
        self, items: Sequence[tuple[Channel, ItemId, ItemFlags]]
    ) -> Sequence[InboxItem]:
        """Return items of topics and `all`, in order, as a user sees them who has done this with
        them. Items that are gone are left out. Raise BrokerUnavailable.
        """
        ...

    async def settings(self, user: str) -> InboxSettings:
        """Return the settings of a user. Raise BrokerUnavailable."""
        ...

    async def subscribe(self, user: str, topics: Sequence[str]) -> None:
        """Replace the topics of a user, and forget what the user did with the items of others.

        Raise BrokerUnavailable.
        """
        ...

    async def mute(self, user: str, muted: MutedCategories) -> None:
        """Replace the muted categories of a user. Raise BrokerUnavailable."""
        ...

    async def subscribers(self, topic: str, *, after: str, limit: int) -> Sequence[str]:
        """Return at most `limit` users whose inboxes show a topic, in a fixed order.

        after: the last user of the page before, "" for the first page. Raise BrokerUnavailable.
        """
        ...

    async def find_item(
        self, channel: Channel, position: Position
    ) -> tuple[ItemId, ItemFlags] | None:
        """Return the item of an event with a push, and what the user of the channel has done with
        it (nothing for the channel of a topic). None if the item is not there any more.

        position: that of the event. Raise BrokerUnavailable.
        """
        ...

    async def erase(self, user: str) -> None:
        """Erase everything that is kept in the inbox of a user, without an event: the caller erases
        the events of the channel afterwards, which resets the clients. Raise BrokerUnavailable.
        """
        ...
