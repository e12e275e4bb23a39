"""A user's inbox: the user's own items and those of topics and `all`, merged, and the counts.

Own items are kept for each user. An item of a topic or of `all` is stored once, and what each user
has done with it is a short text beside the user's own items (core/shared_items.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from hub.core.channel import ALL, Channel, topic_channel
from hub.core.cursor import Position
from hub.core.deliveries import Delivery
from hub.core.inbox import (
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    ItemId,
    item_source,
    parse_item_id,
)
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.core.metrics import Counter
from hub.core.shared_items import (
    SharedEntry,
    SharedState,
    encode_shared_state,
    parse_shared_state,
)
from hub.errors import BrokerUnavailable
from hub.ports.inbox import InboxCounts, InboxStore, ItemFilter, SharedChange

AllowsTopic = Callable[[str], bool]
"""Returns whether the user may see a topic now."""

_MAX_CHANGE_ATTEMPTS: Final = 20
_NO_ITEMS: Final = ItemFilter(limit=0)
_Entries = Mapping[Channel, Sequence[SharedEntry]]


class AllCounts(msgspec.Struct, frozen=True, kw_only=True):
    """unread, unseen: the counts of the user's own items at a position of the user's channel.
    topic_unread, topic_unseen: those of the items of topics and `all`.
    """

    unread: int
    unseen: int
    topic_unread: int
    topic_unseen: int
    position: Position


class ListedItems(msgspec.Struct, frozen=True):
    """One page of items. next: the id before which the next page begins, None on the last one."""

    items: Sequence[InboxItem]
    counts: AllCounts
    next: str | None


class Inboxes:
    """Lists and changes the items of users.

    changes: counts the changes that users request. read_deliveries: returns the deliveries of what
    a user reads, without the ids of the items (ports.inbox.InboxStore.change).
    """

    def __init__(
        self,
        store: InboxStore,
        *,
        max_topics: int,
        changes: Counter,
        read_deliveries: Callable[[str], Sequence[Delivery]] = lambda user: (),
    ) -> None:
        self.max_topics = max_topics
        self._store = store
        self._read_deliveries = read_deliveries
        self._changes = changes

    async def list(self, user: str, which: ItemFilter, allows: AllowsTopic) -> ListedItems:
        """Return the newest items that match. Raise BrokerUnavailable."""
        limit = which.limit
        page = await self._store.read(user, msgspec.structs.replace(which, limit=limit + 1))
        shared = await self._read_shared(page.settings, allows)
        matching = [each for each in shared.visible() if _matches(*each[1:], which)]
        flags = {entry.id: (channel, entry.id, flags) for channel, entry, flags in matching}
        own = {parse_item_id(item.id, path="id"): item for item in page.items}
        newest = sorted([*own, *flags], reverse=True)
        wanted = [flags[item_id] for item_id in newest[:limit] if item_id in flags]
        stored = {item.id: item for item in await self._store.find_shared(wanted)} if wanted else {}
        items = [own.get(item_id) or stored.get(str(item_id)) for item_id in newest[:limit]]
        return ListedItems(
            [item for item in items if item is not None],
            _all_counts(page.counts, shared.states, shared),
            str(newest[limit - 1]) if len(newest) > limit else None,
        )

    async def change(
        self, user: str, change: ItemChange, target: ChangeTarget, allows: AllowsTopic
    ) -> AllCounts:
        """Change items, and return the counts after it. Raise BrokerUnavailable."""
        self._changes[change.value] += 1
        deliveries = self._read_deliveries(user) if change is ItemChange.READ else ()
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            page = await self._store.read(user, _NO_ITEMS)
            shared = await self._read_shared(page.settings, allows)
            states, request = shared.apply(change, target)
            changed = await self._store.change(user, change, target, request, deliveries)
            if changed is not None:
                return _all_counts(changed.counts, states, shared)
        raise BrokerUnavailable("other requests are changing the same inbox")

    async def topics(self, user: str) -> Sequence[str]:
        """Return the topics that a user's inbox shows. Raise BrokerUnavailable."""
        return (await self._store.settings(user)).topics

    async def subscribe(self, user: str, topics: Sequence[str]) -> Sequence[str]:
        """Replace the topics that a user's inbox shows. Raise BrokerUnavailable."""
        await self._store.subscribe(user, topics)
        return topics

    async def muted(self, user: str) -> MutedCategories:
        """Return the categories that a user has muted. Raise BrokerUnavailable."""
        return (await self._store.settings(user)).muted

    async def mute(self, user: str, muted: MutedCategories) -> MutedCategories:
        """Replace the categories that a user has muted. Raise BrokerUnavailable."""
        await self._store.mute(user, muted)
        return muted

    async def _read_shared(self, settings: InboxSettings, allows: AllowsTopic) -> _SharedItems:
        channels = [ALL, *(topic_channel(topic) for topic in settings.topics if allows(topic))]
        return _SharedItems(await self._store.read_shared(channels), settings)


class _SharedItems:
    """The items of topics and `all` in a user's inbox, and the user's states."""

    def __init__(self, entries: _Entries, settings: InboxSettings) -> None:
        self._entries = entries
        self._shows = settings.shows
        self._texts = {
            channel: settings.shared.get(item_source(channel), "") for channel in entries
        }
        self.states = {channel: parse_shared_state(text) for channel, text in self._texts.items()}

    def visible(
        self, states: Mapping[Channel, SharedState] | None = None
    ) -> Iterable[tuple[Channel, SharedEntry, ItemFlags]]:
        """Yield the items that the user can see, and what the user has done with them."""
        for channel, entries in self._entries.items():
            state = (states or self.states)[channel]
            for entry in filter(self._shows, entries):
                if (flags := state.flags(entry.id)) is not None:
                    yield channel, entry, flags

    def apply(
        self, change: ItemChange, target: ChangeTarget
    ) -> tuple[Mapping[Channel, SharedState], SharedChange]:
        """Return the states after a change, and what the store must write."""
        states, texts, changed = dict(self.states), {}, list[ItemId]()
        for channel, entries in self._entries.items():
            before = self.states[channel]
            after, items = before.apply(change, target, entries, shows=self._shows)
            if items:
                states[channel] = after
                text = encode_shared_state(after)
                texts[item_source(channel)] = self._texts[channel], text
                changed += items
        return states, SharedChange(texts, [str(item) for item in changed])


def _all_counts(
    own: InboxCounts, states: Mapping[Channel, SharedState], shared: _SharedItems
) -> AllCounts:
    flags = [flags for _, _, flags in shared.visible(states)]
    return AllCounts(
        unread=own.unread,
        unseen=own.unseen,
        topic_unread=sum(each.is_unread for each in flags),
        topic_unseen=sum(each.is_unseen for each in flags),
        position=own.position,
    )


def _matches(entry: SharedEntry, flags: ItemFlags, which: ItemFilter) -> bool:
    return (
        (which.before is None or entry.id < which.before)
        and which.category in (None, entry.category)
        and (not which.unread or flags.is_unread)
        and which.archived in (None, flags.archived)
    )
