"""The inboxes in Redis: two keys beside each channel's log, see lua/inbox.lua."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall, channel_keys, inbox_keys
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.events import Retention, channel_retention, to_milliseconds
from hub.core.channel import Channel, user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.inbox import (
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    item_json,
    stored_bound,
)
from hub.ports.inbox import ChangedItems, InboxCounts, InboxPage, ItemFilter

_PACKAGE: Final = "hub.backends.redis"
_PARTS: Final = ("channel_head", "append", "inbox")
_READ: Final = Script(_PACKAGE, *_PARTS, "read_inbox", needs_memory=False, is_repeatable=True)
_CHANGE: Final = Script(_PACKAGE, *_PARTS, "change_inbox", needs_memory=False)
_LETTERS: Final = {"seen": b"s", "read": b"r", "archived": b"a"}


class RedisInboxStore:
    """Implements ports.inbox.InboxStore."""

    def __init__(self, client: RedisClient, retention: Retention) -> None:
        self._client = client
        self._retention = retention
        self._publish_command = "SPUBLISH" if client.sharded else "PUBLISH"

    async def read(self, user: str, which: ItemFilter) -> InboxPage:
        before = "+" if which.before is None else stored_bound(which.before, is_exclusive=True)
        archived = {None: "", True: "1", False: "0"}[which.archived]
        arguments = (
            before,
            which.limit,
            which.category or "",
            "1" if which.unread else "",
            archived,
        )
        reply = await self._run(_READ, user_channel(user), arguments)
        return InboxPage(_parse_items(reply[4:]), _parse_counts(reply))

    async def change(self, user: str, change: ItemChange, target: ChangeTarget) -> ChangedItems:
        arguments = [change.value, *_encode_target(target)]
        reply = await self._run(_CHANGE, user_channel(user), arguments)
        return ChangedItems([item.decode() for item in reply[4:]], _parse_counts(reply))

    async def erase(self, user: str) -> None:
        keys = inbox_keys(user_channel(user))
        for key in (keys.state, keys.items):
            await self._client.call_key(keys.partition, "DEL", key)

    async def _run(
        self, script: Script, channel: Channel, arguments: Sequence[Argument]
    ) -> list[Any]:
        names, inbox = channel_keys(channel), inbox_keys(channel)
        call = ScriptCall(
            script,
            names.partition,
            (names.head, names.log, inbox.state, inbox.items),
            (
                self._publish_command,
                new_epoch(),
                to_milliseconds(self._retention.position_ttl_seconds),
                channel_retention(self._retention, channel),
                self._retention.inbox.limits,
                *arguments,
            ),
        )
        reply: list[Any]
        (reply,) = await self._client.run([call])
        return reply


def _encode_target(target: ChangeTarget) -> list[str]:
    if target.items is not None:
        return ["items", *(item.stored for item in target.items if not item.source)]
    if target.up_to is not None:
        return ["up_to", stored_bound(target.up_to)]
    return ["category", target.category or ""]


def _parse_counts(reply: Sequence[Any]) -> InboxCounts:
    unread, unseen, epoch, offset = reply[:4]
    return InboxCounts(unread, unseen, Position(epoch.decode(), offset))


def _parse_items(reply: Sequence[bytes]) -> list[InboxItem]:
    fields = iter(reply)
    return [
        msgspec.json.decode(
            item_json(item_id.decode(), publisher_fields, data, _parse_flags(letters)),
            type=InboxItem,
        )
        for item_id, letters, publisher_fields, data in zip(
            fields, fields, fields, fields, strict=True
        )
    ]


def _parse_flags(letters: bytes) -> ItemFlags:
    return ItemFlags(**{name: letter in letters for name, letter in _LETTERS.items()})
