"""The inboxes in memory."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from hub.core.channel import Channel, topic_channel, topics_among, user_channel
from hub.core.cursor import Position
from hub.core.deliveries import PUSH_QUEUE, Delivery
from hub.core.inbox import (
    NEW,
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    ItemId,
    item_fields,
    item_json,
    item_source,
    max_stored_items,
    parse_item_id,
    push_delivery_id,
)
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.core.shared_items import SharedEntry
from hub.ports.events import Publication
from hub.ports.inbox import (
    NO_SHARED_CHANGE,
    ChangedItems,
    InboxCounts,
    InboxPage,
    ItemFilter,
    SharedChange,
)

HubEvent = tuple[str, bytes]
"""The name and the data of an event of the hub."""
_NO_SETTINGS: Final = InboxSettings()


class _StoredItem(msgspec.Struct, kw_only=True):
    id: ItemId
    category: str
    key: str
    expires_at: float
    fields: bytes
    data: bytes
    required: bool = False
    pushes: Sequence[str] = ()
    position: Position | None = None
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
    cancel_push: cancels a delivery. add_deliveries: adds some. now: Unix time in seconds.
    """

    def __init__(
        self,
        append: Callable[[Channel, str, bytes], None],
        head_of: Callable[[Channel], Position],
        check_available: Callable[[], None],
        now: Callable[[], float] = time.time,
        *,
        cancel_push: Callable[[str], Awaitable[object]],
        add_deliveries: Callable[[Sequence[Delivery]], Awaitable[None]],
        max_items: int = 200,
        ttl_seconds: float = 30 * 86400.0,
    ) -> None:
        self._append = append
        self._head_of = head_of
        self._check_available = check_available
        self._now = now
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds
        self._cancel_push = cancel_push
        self._add_deliveries = add_deliveries
        self._inboxes: dict[Channel, _Inbox] = {}
        self._settings: dict[str, InboxSettings] = {}

    async def read(self, user: str, which: ItemFilter) -> InboxPage:
        self._check_available()
        channel = user_channel(user)
        inbox = self._fresh(channel)
        items = [item.item() for item in reversed(inbox.items) if _matches(item, which)]
        return InboxPage(
            items[: which.limit], self._counts(channel), self._settings.get(user, _NO_SETTINGS)
        )

    async def change(
        self,
        user: str,
        change: ItemChange,
        target: ChangeTarget,
        shared: SharedChange = NO_SHARED_CHANGE,
        deliveries: Sequence[Delivery] = (),
    ) -> ChangedItems | None:
        self._check_available()
        settings = self._settings.get(user, _NO_SETTINGS)
        states = dict(settings.shared)
        for source, (text, replacement) in shared.states.items():
            if states.get(source, "") != text:
                return None
            states[source] = replacement
        self._settings[user] = msgspec.structs.replace(settings, shared=states)
        channel = user_channel(user)
        inbox = self._fresh(channel)
        changed = [*shared.items]
        pushes = [push_delivery_id(channel, parse_item_id(item, path="id")) for item in changed]
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
            pushes += item.pushes
        for push in pushes if change.cancels_push else ():
            await self._cancel_push(push)
        if changed:
            self._append(channel, *inbox.change_event(changed, change))
            end = msgspec.json.encode(changed) + b"}}"
            await self._add_deliveries(
                [
                    msgspec.structs.replace(each, body=each.body.removesuffix(b"[]}}") + end)
                    for each in deliveries
                ]
            )
        return ChangedItems(changed, self._counts(channel))

    async def erase(self, user: str) -> None:
        self._check_available()
        self._inboxes.pop(user_channel(user), None)
        self._settings.pop(user, None)

    async def read_shared(
        self, channels: Sequence[Channel]
    ) -> dict[Channel, Sequence[SharedEntry]]:
        self._check_available()
        return {
            channel: [
                SharedEntry(
                    msgspec.structs.replace(item.id, source=item_source(channel)),
                    item.category,
                    item.required,
                )
                for item in self._unexpired(channel)
            ]
            for channel in channels
        }

    async def find_shared(
        self, items: Sequence[tuple[Channel, ItemId, ItemFlags]]
    ) -> list[InboxItem]:
        self._check_available()
        return [
            msgspec.json.decode(
                item_json(str(item_id), item.fields, item.data, flags), type=InboxItem
            )
            for channel, item_id, flags in items
            for item in self._unexpired(channel)
            if item.id.stored == item_id.stored
        ]

    async def settings(self, user: str) -> InboxSettings:
        self._check_available()
        return self._settings.get(user, _NO_SETTINGS)

    async def subscribe(self, user: str, topics: Sequence[str]) -> None:
        self._check_available()
        before = self._settings.get(user, _NO_SETTINGS)
        sources = {"*", *(item_source(topic_channel(topic)) for topic in topics)}
        shared = {source: text for source, text in before.shared.items() if source in sources}
        self._settings[user] = msgspec.structs.replace(before, topics=[*topics], shared=shared)

    async def mute(self, user: str, muted: MutedCategories) -> None:
        self._check_available()
        before = self._settings.get(user, _NO_SETTINGS)
        self._settings[user] = msgspec.structs.replace(before, muted=muted)

    async def subscribers(self, topic: str, *, after: str, limit: int) -> list[str]:
        self._check_available()
        users = sorted(user for user, each in self._settings.items() if topic in each.topics)
        return [user for user in users if user > after][:limit]

    async def find_item(
        self, channel: Channel, position: Position
    ) -> tuple[ItemId, ItemFlags] | None:
        self._check_available()
        for item in self._unexpired(channel):
            if item.position == position:
                item_id = msgspec.structs.replace(item.id, source=item_source(channel))
                return item_id, item.flags
        return None

    def add(
        self, publication: Publication, position: Position | None
    ) -> tuple[str | None, list[HubEvent]]:
        """Keep an event that is being published at a position.

        Return the id of its item, and the events that follow it in the channel of a user.
        """
        options = publication.inbox
        assert options is not None
        user = publication.channel.removeprefix("user:")
        muted = self._settings.get(user, _NO_SETTINGS).muted.inbox
        if user != publication.channel and options.category in muted and not options.required:
            return None, []
        inbox = self._inboxes.setdefault(publication.channel, _Inbox())
        removed = self._expired(inbox)
        inbox.remove(removed)
        replaced = [item for item in inbox.items if options.key and item.key == options.key]
        others = [item for item in inbox.items if item not in replaced]
        excess = []
        if len(others) >= max_stored_items(self._max_items):
            excess = others[: len(others) - self._max_items + 1]
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
            required=options.required,
            pushes=[each.id for each in publication.deliveries if each.queue == PUSH_QUEUE],
            position=position,
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

    def _unexpired(self, channel: Channel) -> list[_StoredItem]:
        inbox = self._inboxes.setdefault(channel, _Inbox())
        expired = self._expired(inbox)
        return [item for item in inbox.items if item not in expired]

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
