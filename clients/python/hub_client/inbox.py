"""Inbox: the inbox of a user, with asyncio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hub_client.http import HttpClient
from hub_client.inbox_requests import (
    InboxCounts,
    InboxPage,
    InboxPreferences,
    InboxRequests,
    ItemChange,
)


class Inbox:
    """`hub.inbox`, or `hub.inbox_of(user)`. Every method raises HubClientError.

    connected: returns the client of the listener.
    """

    def __init__(self, connected: Callable[[], HttpClient], requests: InboxRequests) -> None:
        self._connected = connected
        self._requests = requests

    async def list(
        self,
        *,
        category: str | None = None,
        unread: bool = False,
        archived: bool | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> InboxPage:
        """Return the newest items that match.

        archived: only archived items, or only others; None means both. before: only items older
        than this id. limit: 50 by default, at most 200.
        """
        request = self._requests.list(
            category=category,
            unread=unread or None,
            archived=archived,
            before=before,
            limit=limit,
        )
        return await self._connected().send(request)

    async def change(
        self,
        change: ItemChange,
        *items: str,
        up_to: str | None = None,
        category: str | None = None,
    ) -> InboxCounts:
        """Change items, and return the counts after it.

        items: their ids; those that do not exist are left out. up_to: this item and all older ones.
        category: all items of a category. Exactly one of the three is given.
        """
        request = self._requests.change(change, items, up_to, category)
        return await self._connected().send(request)

    async def read(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Mark items as read; see `change`."""
        return await self.change("read", *items, up_to=up_to, category=category)

    async def unread(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Mark items as unread; see `change`."""
        return await self.change("unread", *items, up_to=up_to, category=category)

    async def seen(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Mark items as seen; see `change`."""
        return await self.change("seen", *items, up_to=up_to, category=category)

    async def archive(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Archive items; see `change`."""
        return await self.change("archive", *items, up_to=up_to, category=category)

    async def unarchive(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Take items out of the archive; see `change`."""
        return await self.change("unarchive", *items, up_to=up_to, category=category)

    async def delete(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """Delete items; see `change`."""
        return await self.change("delete", *items, up_to=up_to, category=category)

    async def subscriptions(self) -> Sequence[str]:
        """Return the topics whose items the inbox shows."""
        return await self._connected().send(self._requests.subscriptions())

    async def set_subscriptions(self, topics: Sequence[str]) -> Sequence[str]:
        """Replace the topics whose items the inbox shows, and return them.

        The token must allow each of them.
        """
        return await self._connected().send(self._requests.subscriptions(topics))

    async def preferences(self) -> InboxPreferences:
        """Return the muted categories."""
        return await self._connected().send(self._requests.preferences())

    async def set_preferences(self, *, muted: Mapping[str, Sequence[str]]) -> InboxPreferences:
        """Replace the muted categories, and return them.

        muted: `{"inbox": […], "push": […]}`, the categories of which nothing is kept, and those of
        which nothing is pushed.
        """
        return await self._connected().send(self._requests.preferences(muted))
