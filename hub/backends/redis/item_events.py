"""The event `inbox.item` of an event that is kept as an item, built from what the scripts store.

A publish stores and announces the event, the state of the inbox and the item (lua/log_entries.lua),
because JSON that a script builds costs the broker more than anything else of an item.
"""

from __future__ import annotations

from hub.core.inbox import NEW, item_json


def build_item_event(state: bytes, item: bytes, data: bytes, *, replaced: bool) -> bytes:
    """Return the data of `inbox.item`. state, item: as lua/inbox.lua encodes them."""
    _, unread, unseen, item_id, _ = state.split(b" ", 4)
    fields = item_fields_of(item)
    return b'{"item":%b,"replaced":%b,"unread":%b,"unseen":%b}' % (
        item_json(item_id.decode(), fields, data, NEW),
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
    state, *lines, event_data = data.split(b"\n", 7)
    item = b"\n".join(lines)
    return "inbox.item", build_item_event(state, item, event_data, replaced=name == b"\nk")
