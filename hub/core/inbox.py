"""Items of inboxes: what a publisher may ask for, their ids, and what a change does to them.

An item is an event that the hub keeps for a user until it is deleted or expires. Its id is its
place in time, `<ms>-<n>`: the Unix time in milliseconds and a number that counts within it. The id
of an item that a topic or `all` keeps for all of its users is followed by the item's source:
`<ms>-<n>~<tag of the topic>`, `<ms>-<n>*`.

Rules:
1. `unread` and `unseen` count the user's own items that are not read, or not seen, and that are not
   archived.
2. Whoever has read an item has seen it.
3. An item that replaces another one with the same key has an id of its own. A change that names the
   old id does not change the new item, which the user may not have seen yet.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from hub.core.channel import ALL, Channel, topics_among
from hub.core.cursor import channel_tag
from hub.core.deliveries import delivery_id
from hub.error_codes import INVALID_ITEM
from hub.errors import BadRequest

MAX_KEY_CHARS: Final = 256
MAX_CATEGORY_CHARS: Final = 128
MAX_ITEMS_OF_CHANGE: Final = 200
_MAX_EXCESS_ITEMS: Final = 32

_ID: Final = re.compile(r"([0-9]{1,15})-([0-9]{1,9})(\*|~[0-9A-Za-z]{6})?")


class InboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an event is kept in an inbox.

    category: a name by which users filter and mute items; "" for none.
    key: an item with the same key in the same inbox is replaced; "" for none.
    expires_seconds: how long it is kept; None means as long as the settings allow.
    required: whether it is kept although the user has muted its category.
    """

    category: str = ""
    key: str = ""
    expires_seconds: float | None = None
    required: bool = False

    def check(self) -> None:
        """Raise BadRequest that names the field."""
        check_category(self.category, path="inbox.category")
        if len(self.key) > MAX_KEY_CHARS or not self.key.isprintable():
            raise BadRequest(
                f"a key has 1 to {MAX_KEY_CHARS} printable characters", path="inbox.key"
            )
        expires = self.expires_seconds
        if expires is not None and not 0 < expires < 10**9:
            raise BadRequest(
                "expires_seconds must be a number above 0 and below 1,000,000,000",
                path="inbox.expires_seconds",
            )


def max_stored_items(max_items: int) -> int:
    """Return how many items an inbox may hold: an eighth more than `max_items`, at most 32 more.

    The oldest ones are removed together, because removing each one alone costs the broker as much
    as adding it.
    """
    return max_items + min(max_items // 8, _MAX_EXCESS_ITEMS)


def check_category(category: str, *, path: str) -> str:
    """Return a category of items. Raise BadRequest that names the field."""
    if len(category) > MAX_CATEGORY_CHARS or not category.isprintable():
        raise BadRequest(
            f"a category has 1 to {MAX_CATEGORY_CHARS} printable characters", path=path
        )
    return category


class ItemFlags(msgspec.Struct, frozen=True):
    """What a user has done with an item."""

    seen: bool = False
    read: bool = False
    archived: bool = False

    @property
    def is_unread(self) -> bool:
        """Whether `unread` counts the item."""
        return not self.read and not self.archived

    @property
    def is_unseen(self) -> bool:
        """Whether `unseen` counts the item."""
        return not self.seen and not self.archived


NEW: Final = ItemFlags()


class ItemChange(enum.Enum):
    """What happens to items, and the field `change` of `inbox.changed`."""

    READ = "read"
    UNREAD = "unread"
    SEEN = "seen"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"
    EXPIRE = "expire"
    """The hub removes items whose time is over, and the oldest ones of a full inbox."""

    @property
    def removes(self) -> bool:
        """Whether the items are gone afterwards."""
        return self in (ItemChange.DELETE, ItemChange.EXPIRE)

    @property
    def cancels_push(self) -> bool:
        """Whether nobody needs a notification of the items any more."""
        return self in (ItemChange.READ, ItemChange.ARCHIVE, ItemChange.DELETE)

    def apply(self, flags: ItemFlags) -> ItemFlags:
        """Return the flags of an item after the change. It must not be one that removes."""
        return _CHANGES[self](flags)


def _changed(**fields: bool) -> Callable[[ItemFlags], ItemFlags]:
    return lambda flags: msgspec.structs.replace(flags, **fields)


_CHANGES: Final[Mapping[ItemChange, Callable[[ItemFlags], ItemFlags]]] = {
    ItemChange.READ: _changed(read=True, seen=True),
    ItemChange.UNREAD: _changed(read=False),
    ItemChange.SEEN: _changed(seen=True),
    ItemChange.ARCHIVE: _changed(archived=True),
    ItemChange.UNARCHIVE: _changed(archived=False),
}


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a user. data: the publisher's JSON. created_at: Unix seconds. topic: the topic
    that keeps it, null for the user's own and for those of `all`.
    """

    id: str
    event: str
    data: msgspec.Raw
    category: str | None
    key: str | None
    topic: str | None
    created_at: float
    seen: bool
    read: bool
    archived: bool


class ItemId(msgspec.Struct, frozen=True, order=True):
    """The id of an item, as a place in the order of all items of a user.

    source: "" for the user's own, `*` for `all`, `~<tag>` for a topic.
    """

    ms: int
    n: int
    source: str = ""

    @property
    def stored(self) -> str:
        """The id within its source."""
        return f"{self.ms}-{self.n}"

    def __str__(self) -> str:
        return self.stored + self.source


def parse_item_id(text: str, *, path: str) -> ItemId:
    """Return the parts of an item's id. Raise BadRequest that names the field."""
    match = _ID.fullmatch(text)
    if match is None:
        raise BadRequest("this is not the id of an inbox item", code=INVALID_ITEM, path=path)
    return ItemId(int(match[1]), int(match[2]), match[3] or "")


def push_delivery_id(channel: Channel, item: ItemId) -> str:
    """Return the id of the push of an item of a topic to a user. channel: that of the user.

    The delivery is cancelled when the user reads the item before it is due.
    """
    return delivery_id(channel, f"i{item.stored}{item.source.replace('~', '_').replace('*', '_')}")


def item_source(channel: Channel) -> str:
    """Return the source of the items that a channel's inbox keeps."""
    if channel == ALL:
        return "*"
    return f"~{channel_tag(channel)}" if topics_among([channel]) else ""


def stored_bound(item: ItemId, *, is_exclusive: bool = False) -> str:
    """Return where the user's own items up to an item of any source end, as a range of a stream.

    An own item comes before an item of a topic with the same time. No item has the id 0-0, and a
    stream has nothing before it.
    """
    is_open = is_exclusive and not item.source and (item.ms, item.n) != (0, 0)
    return f"({item.stored}" if is_open else item.stored


class ChangeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The items that a change is for: exactly one of the three is given.

    items: these ids; those that do not exist are left out. up_to: this item and all older ones.
    category: all items of a category.
    """

    items: Sequence[ItemId] | None = None
    up_to: ItemId | None = None
    category: str | None = None

    def has(self, item: ItemId, category: str) -> bool:
        """Return whether an item that exists is among them."""
        if self.items is not None:
            return item in self.items
        if self.up_to is not None:
            return item <= self.up_to
        return category == self.category


def item_fields(name: str, options: InboxOptions, topic: str | None) -> bytes:
    """Return the fields of an item that its publisher sets but for the data: a part of JSON."""
    fields = {
        "event": name,
        "category": options.category or None,
        "key": options.key or None,
        "topic": topic,
    }
    return msgspec.json.encode(fields)[1:-1]


def item_json(item_id: str, fields: bytes, data: bytes, flags: ItemFlags) -> bytes:
    """Return an item as JSON. fields: as item_fields returns them. data: the publisher's JSON."""
    ms = int(item_id.partition("-")[0])
    state = msgspec.json.encode(flags)[1:-1]
    return b'{"id":"%b",%b,"data":%b,"created_at":%d.%03d,%b}' % (
        item_id.encode(),
        fields,
        data,
        ms // 1000,
        ms % 1000,
        state,
    )
