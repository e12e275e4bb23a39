"""The event `inbox.item` of an event that is kept as an item, built from what the scripts store.

A publish stores and announces the event, the state of the inbox and the item (lua/log_entries.lua),
because JSON that a script builds costs the broker more than anything else of an item.
"""

from __future__ import annotations

from collections.abc import Sequence

from hub.core.inbox import NEW, item_json


def build_item_event(lines: Sequence[bytes], data: bytes, *, replaced: bool) -> bytes:
    """Return the data of `inbox.item`. lines: the state of the inbox, and the six of the item."""
    _, unread, unseen, item_id, _ = lines[0].split(b" ", 4)
    return b'{"item":%b,"replaced":%b,"unread":%b,"unseen":%b}' % (
        item_json(item_id.decode(), lines[-1], data, NEW),
        b"true" if replaced else b"false",
        unread,
        unseen,
    )


def item_fields_of(item: bytes) -> bytes:
    """Return the fields that the publisher of an item set, a part of a JSON object."""
    return item.rpartition(b"\n")[2]


def parse_stored_event(name: bytes, data: bytes) -> tuple[str, bytes]:
    """Return the name and the data of an event as lua/read.lua returns them."""
    if not name.startswith(b"\n"):
        return name.decode(), data
    *lines, event_data = data.split(b"\n", 7)
    return "inbox.item", build_item_event(lines, event_data, replaced=name == b"\nk")
