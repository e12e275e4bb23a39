"""What push notifications ask the inbox: see ports.push.PushInbox."""

from __future__ import annotations

from hub.core.channel import Channel, user_channel
from hub.core.cursor import Position
from hub.core.shared_items import parse_shared_state
from hub.ports.inbox import InboxStore


class StoredPushInbox:
    """Implements ports.push.PushInbox."""

    def __init__(self, store: InboxStore) -> None:
        self._store = store

    async def is_read(
        self, user: str, channel: Channel, position: Position, *, category: str = ""
    ) -> bool:
        item = await self._store.find_item(channel, position)
        if item is None:
            may_be_muted = bool(category) and channel == user_channel(user)
            return not (may_be_muted and await self._is_muted_in_inbox(user, category))
        item_id, flags = item
        if channel == user_channel(user):
            return not flags.is_unread
        states = (await self._store.settings(user)).shared
        shared = parse_shared_state(states.get(item_id.source, "")).flags(item_id)
        return shared is None or not shared.is_unread

    async def is_muted(self, user: str, category: str) -> bool:
        return category in (await self._store.settings(user)).muted.push

    async def _is_muted_in_inbox(self, user: str, category: str) -> bool:
        return category in (await self._store.settings(user)).muted.inbox

    async def topic_users(self, topic: str, after: str, limit: int) -> list[str]:
        return [*await self._store.subscribers(topic, after=after, limit=limit)]
