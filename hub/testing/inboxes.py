"""The inboxes in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from hub.core.channel import Channel, topics_among, user_channel
from hub.core.cursor import Position
from hub.core.inbox import (
    NEW,
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    ItemId,
    item_fields,
    item_json,
)
from hub.ports.events import Publication
from hub.ports.inbox import ChangedItems, InboxCounts, InboxPage, ItemFilter

HubEvent = tuple[str, bytes]
"""The name and the data of an event of the hub."""


class _StoredItem(msgspec.Struct, kw_only=True):
    id: ItemId
    category: str
    key: str
    expires_at: float
    fields: bytes
    data: bytes
    flags: ItemFlags = NEW

    def item(self) -> InboxItem:
        """Return the item as the port has it."""
        return msgspec.json.decode(self.json(), type=InboxItem)

    def json(self) -> bytes:
        """Return the item as JSON."""
        return item_json(str(self.id), self.fields, self.data, self.flags)


class _Inbox:
    def __init__(self) -> None:
        self.items: list[_StoredItem] = []  # the oldest first
        self.last = ItemId(0, 0)

    def counts(self) -> tuple[int, int]:
        """Return how many items are unread and unseen."""
        flags = [item.flags for item in self.items]
        return sum(each.is_unread for each in flags), sum(each.is_unseen for each in flags)

    def remove(self, items: Sequence[_StoredItem]) -> None:
        """Remove these items."""
        removed = {item.id for item in items}
        self.items = [item for item in self.items if item.id not in removed]

    def change_event(self, ids: Sequence[str], change: ItemChange) -> HubEvent:
        """Return the event of changed items."""
        unread, unseen = self.counts()
        data = {"unread": unread, "unseen": unseen, "items": ids, "change": change.value}
        return "inbox.changed", msgspec.json.encode(data)


class MemoryInboxStore:
    """Implements ports.inbox.InboxStore.

    append: publishes an event of the hub in a channel. head_of: returns the position of a channel.
    now: Unix time in seconds.
    """

    def __init__(
        self,
        append: Callable[[Channel, str, bytes], None],
        head_of: Callable[[Channel], Position],
        check_available: Callable[[], None],
        now: Callable[[], float] = time.time,
        *,
        max_items: int = 200,
        ttl_seconds: float = 30 * 86400.0,
    ) -> None:
        self._append = append
        self._head_of = head_of
        self._check_available = check_available
        self._now = now
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds
        self._inboxes: dict[Channel, _Inbox] = {}

    async def read(self, user: str, which: ItemFilter) -> InboxPage:
        self._check_available()
        channel = user_channel(user)
        inbox = self._fresh(channel)
        items = [item.item() for item in reversed(inbox.items) if _matches(item, which)]
        return InboxPage(items[: which.limit], self._counts(channel))

    async def change(self, user: str, change: ItemChange, target: ChangeTarget) -> ChangedItems:
        self._check_available()
        channel = user_channel(user)
        inbox = self._fresh(channel)
        changed = []
        for item in tuple(inbox.items):
            if not target.has(item.id, item.category):
                continue
            if change.removes:
                inbox.remove([item])
            elif (after := change.apply(item.flags)) == item.flags:
                continue
            else:
                item.flags = after
            changed.append(str(item.id))
        if changed:
            self._append(channel, *inbox.change_event(changed, change))
        return ChangedItems(changed, self._counts(channel))

    async def erase(self, user: str) -> None:
        self._check_available()
        self._inboxes.pop(user_channel(user), None)

    def add(self, publication: Publication) -> tuple[str, list[HubEvent]]:
        """Keep an event that is being published. Return the id of its item, and the events that
        follow it in the channel of a user.
        """
        options = publication.inbox
        assert options is not None
        inbox = self._inboxes.setdefault(publication.channel, _Inbox())
        removed = self._expired(inbox)
        inbox.remove(removed)
        replaced = [item for item in inbox.items if options.key and item.key == options.key]
        others = [item for item in inbox.items if item not in replaced]
        excess = others[: max(0, len(others) - self._max_items + 1)]
        inbox.remove(excess)
        removed += excess
        events = []
        if removed:
            ids = [str(item.id) for item in removed]
            events.append(inbox.change_event(ids, ItemChange.EXPIRE))
        inbox.remove(replaced)
        now_ms = int(self._now() * 1000)
        last = inbox.last
        item_id = ItemId(now_ms, 0) if now_ms > last.ms else ItemId(last.ms, last.n + 1)
        ttl = min(self._ttl_seconds, options.expires_seconds or self._ttl_seconds)
        topic = next(iter(topics_among([publication.channel])), None)
        item = _StoredItem(
            id=item_id,
            category=options.category,
            key=options.key,
            expires_at=self._now() + ttl,
            fields=item_fields(publication.name, options, topic),
            data=publication.data,
        )
        inbox.items.append(item)
        inbox.last = item_id
        unread, unseen = inbox.counts()
        added = {
            "item": msgspec.Raw(item.json()),
            "replaced": bool(replaced),
            "unread": unread,
            "unseen": unseen,
        }
        events.append(("inbox.item", msgspec.json.encode(added)))
        return str(item_id), events

    def _fresh(self, channel: Channel) -> _Inbox:
        """Return an inbox without the items that have expired."""
        inbox = self._inboxes.setdefault(channel, _Inbox())
        expired = self._expired(inbox)
        if expired:
            inbox.remove(expired)
            ids = [str(item.id) for item in expired]
            self._append(channel, *inbox.change_event(ids, ItemChange.EXPIRE))
        return inbox

    def _expired(self, inbox: _Inbox) -> list[_StoredItem]:
        now = self._now()
        return [item for item in inbox.items if item.expires_at <= now]

    def _counts(self, channel: Channel) -> InboxCounts:
        return InboxCounts(*self._inboxes[channel].counts(), self._head_of(channel))


def _matches(item: _StoredItem, which: ItemFilter) -> bool:
    return (
        (which.before is None or item.id < which.before)
        and which.category in (None, item.category)
        and (not which.unread or item.flags.is_unread)
        and which.archived in (None, item.flags.archived)
    )
