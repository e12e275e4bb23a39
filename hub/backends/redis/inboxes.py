"""The inboxes in Redis: a few keys beside each channel's log, see lua/inbox.lua."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall, channel_keys, inbox_keys
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.deliveries import encode_delivery, encode_limits
from hub.backends.redis.events import Retention, channel_retention, to_milliseconds
from hub.backends.redis.inbox_replies import (
    encode_shared,
    encode_target,
    parse_counts,
    parse_entries,
    parse_found_item,
    parse_items,
    parse_settings,
    parse_shared_item,
)
from hub.backends.redis.keys import deliveries_key
from hub.core.channel import Channel, topic_channel, user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.deliveries import PUSH_QUEUE, Delivery, DeliveryLimits
from hub.core.inbox import (
    ChangeTarget,
    InboxItem,
    ItemChange,
    ItemFlags,
    ItemId,
    item_source,
    stored_bound,
)
from hub.core.inbox_settings import InboxSettings, MutedCategories
from hub.core.shared_items import SharedEntry
from hub.core.webhooks import WEBHOOK_QUEUE
from hub.ports.inbox import (
    NO_SHARED_CHANGE,
    ChangedItems,
    InboxPage,
    ItemFilter,
    SharedChange,
)

_PACKAGE: Final = "hub.backends.redis"
_PARTS: Final = ("channel_head", "append", "inbox")
_READ: Final = Script(_PACKAGE, *_PARTS, "read_inbox", needs_memory=False, is_repeatable=True)
_CHANGE: Final = Script(_PACKAGE, *_PARTS, "deliveries", "change_inbox", needs_memory=False)
_READ_SHARED: Final = Script(
    _PACKAGE, *_PARTS, "read_shared_inbox", needs_memory=False, is_repeatable=True
)
_PUT_SETTINGS: Final = Script(_PACKAGE, "put_inbox_settings", is_repeatable=True)
_UPDATE_SUBSCRIBERS: Final = Script(
    _PACKAGE, "channel_head", "update_subscribers", is_repeatable=True
)
_FIND_ITEM: Final = Script(_PACKAGE, *_PARTS, "find_item", needs_memory=False, is_repeatable=True)
_ERASE: Final = Script(_PACKAGE, "erase_inbox", needs_memory=False, is_repeatable=True)
_MAX_INDEX_UPDATES: Final = 20


class RedisInboxStore:
    """Implements ports.inbox.InboxStore."""

    def __init__(
        self, client: RedisClient, retention: Retention, delivery_limits: DeliveryLimits
    ) -> None:
        self._client = client
        self._delivery_limits = encode_limits(delivery_limits)
        self._retention = retention
        self._publish_command = "SPUBLISH" if client.sharded else "PUBLISH"
        self._settings_ms = to_milliseconds(retention.inbox.settings_ttl_seconds)

    async def read(self, user: str, which: ItemFilter) -> InboxPage:
        before = "+" if which.before is None else stored_bound(which.before, is_exclusive=True)
        archived = {None: "", True: "1", False: "0"}[which.archived]
        arguments = (
            before,
            which.limit,
            which.category or "",
            "1" if which.unread else "",
            archived,
            self._settings_ms,
        )
        reply = await self._run(_READ, user_channel(user), arguments)
        return InboxPage(parse_items(reply[5:]), parse_counts(reply), parse_settings(reply[4]))

    async def change(
        self,
        user: str,
        change: ItemChange,
        target: ChangeTarget,
        shared: SharedChange = NO_SHARED_CHANGE,
        deliveries: Sequence[Delivery] = (),
    ) -> ChangedItems | None:
        channel = user_channel(user)
        arguments = [
            *(change.value, self._settings_ms),
            *encode_shared(channel, change, shared),
            *(self._delivery_limits, channel, len(deliveries)),
            *(field for each in deliveries for field in encode_delivery(each)),
            *encode_target(target),
        ]
        reply = await self._run(_CHANGE, channel, arguments)
        if not reply:
            return None
        return ChangedItems([item.decode() for item in reply[4:]], parse_counts(reply))

    async def read_shared(
        self, channels: Sequence[Channel]
    ) -> Mapping[Channel, Sequence[SharedEntry]]:
        calls = []
        for channel in channels:
            keys = inbox_keys(channel)
            calls.append(ScriptCall(_READ_SHARED, keys.partition, (keys.items,), ()))
        replies = await self._client.run(calls)
        return {
            channel: parse_entries(reply, item_source(channel))
            for channel, reply in zip(channels, replies, strict=True)
        }

    async def find_shared(
        self, items: Sequence[tuple[Channel, ItemId, ItemFlags]]
    ) -> list[InboxItem]:
        replies = await asyncio.gather(*(self._find(channel, item) for channel, item, _ in items))
        return [
            parse_shared_item(item, reply[0], flags)
            for (_, item, flags), reply in zip(items, replies, strict=True)
            if reply
        ]

    async def _find(self, channel: Channel, item: ItemId) -> Any:
        keys = inbox_keys(channel)
        return await self._client.call_key(
            keys.partition, "XRANGE", keys.items, item.stored, item.stored
        )

    async def settings(self, user: str) -> InboxSettings:
        keys = inbox_keys(user_channel(user))
        reply = await self._client.call_key(keys.partition, "HGETALL", keys.settings)
        return parse_settings(reply)

    async def subscribe(self, user: str, topics: Sequence[str]) -> None:
        # The index of a topic first: whoever reads it must find every user with the topic.
        await self._client.run([self._update_subscribers(t, user, is_added=True) for t in topics])
        sources = [item_source(topic_channel(topic)) for topic in topics]
        value = msgspec.json.encode(topics)
        before = await self._put_settings(user, "t", value, ["*", *sources])
        removed = set(msgspec.json.decode(before or b"[]", type=list[str])) - {*topics}
        await self._update_index(user, [*topics, *sorted(removed)], topics)

    async def _update_index(self, user: str, changed: Sequence[str], topics: Sequence[str]) -> None:
        """Let the index of each changed topic agree with the topics in the settings.

        Another request may replace the settings meanwhile. So each request writes what it has read,
        and reads again afterwards: the last one to write has read the last settings.
        """
        for _ in range(_MAX_INDEX_UPDATES):
            await self._client.run(
                [self._update_subscribers(t, user, is_added=t in topics) for t in changed]
            )
            stored = (await self.settings(user)).topics
            if stored == topics:
                return
            topics = stored

    async def mute(self, user: str, muted: MutedCategories) -> None:
        await self._put_settings(user, "p", msgspec.json.encode(muted), muted.inbox)

    async def subscribers(self, topic: str, *, after: str, limit: int) -> list[str]:
        keys = inbox_keys(topic_channel(topic))
        first = f"({after}" if after else "-"
        reply = await self._client.call_key(
            keys.partition,
            *("ZRANGE", keys.subscriber_names, first, "+", "BYLEX", "LIMIT", 0, limit),
        )
        return [user.decode() for user in reply]

    async def find_item(
        self, channel: Channel, position: Position
    ) -> tuple[ItemId, ItemFlags] | None:
        keys = inbox_keys(channel)
        arguments = (f"{position.epoch} {position.offset}",)
        call = ScriptCall(_FIND_ITEM, keys.partition, (keys.state, keys.items), arguments)
        (reply,) = await self._client.run([call])
        return parse_found_item(reply, item_source(channel))

    async def _put_settings(
        self, user: str, field: str, value: bytes, kept: Sequence[str]
    ) -> bytes | None:
        channel = user_channel(user)
        keys = (inbox_keys(channel).settings, channel_keys(channel).head)
        arguments: list[Argument] = [self._settings_ms, field, value, *kept]
        call = ScriptCall(_PUT_SETTINGS, channel_keys(channel).partition, keys, arguments)
        before: bytes | None
        (before,) = await self._client.run([call])
        return before

    def _update_subscribers(self, topic: str, user: str, *, is_added: bool) -> ScriptCall:
        keys = inbox_keys(topic_channel(topic))
        arguments = (user, self._settings_ms if is_added else "")
        names = (keys.subscribers, keys.subscriber_names)
        return ScriptCall(_UPDATE_SUBSCRIBERS, keys.partition, names, arguments)

    async def erase(self, user: str) -> None:
        await self.subscribe(user, [])  # nobody finds the user by a topic any more
        inbox, head = inbox_keys(user_channel(user)), channel_keys(user_channel(user)).head
        keys = (inbox.state, inbox.items, inbox.settings, head)
        await self._client.run([ScriptCall(_ERASE, inbox.partition, keys, ())])

    async def _run(
        self, script: Script, channel: Channel, arguments: Sequence[Argument]
    ) -> list[Any]:
        names, inbox = channel_keys(channel), inbox_keys(channel)
        queues = [deliveries_key(names.partition, each) for each in (PUSH_QUEUE, WEBHOOK_QUEUE)]
        call = ScriptCall(
            script,
            names.partition,
            (names.head, names.log, inbox.state, inbox.items, inbox.settings, *queues),
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
