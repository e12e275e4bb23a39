"""Arguments and replies of the scripts of inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client.connection import Argument
from hub.backends.redis.item_events import item_fields_of
from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.inbox import (
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    ItemId,
    item_json,
    parse_item_id,
    push_delivery_id,
    stored_bound,
)
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.core.shared_items import SharedEntry
from hub.ports.inbox import InboxCounts, SharedChange

_LETTERS: Final = {"seen": b"s", "read": b"r", "archived": b"a"}


def encode_target(target: ChangeTarget) -> list[Argument]:
    """Return the user's own items of a target."""
    if target.items is not None:
        return ["items", *(item.stored for item in target.items if not item.source)]
    if target.up_to is not None:
        return ["up_to", stored_bound(target.up_to)]
    return ["category", target.category or ""]


def encode_shared(channel: Channel, change: ItemChange, shared: SharedChange) -> list[Argument]:
    """Return a change of shared items, and the pushes that it cancels."""
    arguments: list[Argument] = [len(shared.states)]
    for source, (before, after) in shared.states.items():
        arguments += (source, before, after)
    arguments += (len(shared.items), *shared.items)
    pushes: list[str] = []
    if change.cancels_push:
        pushes = [
            push_delivery_id(channel, parse_item_id(item, path="items")) for item in shared.items
        ]
    return [*arguments, len(pushes), *pushes]


def parse_counts(reply: Sequence[Any]) -> InboxCounts:
    """Parse the beginning of a reply: the counts and the position."""
    unread, unseen, epoch, offset = reply[:4]
    return InboxCounts(unread, unseen, Position(epoch.decode(), offset))


def parse_items(reply: Sequence[bytes]) -> list[InboxItem]:
    """Parse items, each as id, flags, fields and data."""
    fields = iter(reply)
    return [
        _item(item_id.decode(), publisher_fields, data, _parse_flags(letters))
        for item_id, letters, publisher_fields, data in zip(
            fields, fields, fields, fields, strict=True
        )
    ]


def parse_shared_item(item: ItemId, entry: Sequence[Any], flags: ItemFlags) -> InboxItem:
    """Parse an item of a topic or `all`, as XRANGE returns it."""
    values = entry[1]
    fields = dict(zip(values[::2], values[1::2], strict=True))
    return _item(str(item), item_fields_of(fields[b"m"]), fields[b"d"], flags)


def parse_entries(reply: Sequence[bytes], source: str) -> list[SharedEntry]:
    """Parse the items of a topic or `all`, each as id, category and whether it is required."""
    fields = iter(reply)
    entries = []
    for stored, category, required in zip(fields, fields, fields, strict=True):
        item_id = parse_item_id(stored.decode() + source, path="id")
        entries.append(SharedEntry(item_id, category.decode(), bool(required)))
    return entries


def parse_settings(reply: Sequence[bytes]) -> InboxSettings:
    """Parse the hash of a user's settings (put_inbox_settings.lua)."""
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    return InboxSettings(
        topics=msgspec.json.decode(fields.get(b"t", b"[]"), type=list[str]),
        muted=msgspec.json.decode(fields.get(b"p", b"{}"), type=MutedCategories),
        shared={
            name[2:].decode(): state.decode()
            for name, state in fields.items()
            if name.startswith(b"s ")
        },
    )


def parse_found_item(reply: Sequence[bytes], source: str) -> tuple[ItemId, ItemFlags] | None:
    """Parse the id of an item and what the user has done with it; None without an item."""
    if not reply:
        return None
    item = parse_item_id(reply[0].decode() + source, path="id")
    return item, _parse_flags(reply[1])


def _item(item_id: str, fields: bytes, data: bytes, flags: ItemFlags) -> InboxItem:
    return msgspec.json.decode(item_json(item_id, fields, data, flags), type=InboxItem)


def _parse_flags(letters: bytes) -> ItemFlags:
    return ItemFlags(**{name: letter in letters for name, letter in _LETTERS.items()})
