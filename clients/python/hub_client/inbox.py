"""The inbox of a user: its items, its counts, and what can be done with them.

`Inbox` sends the requests with asyncio, `SyncInbox` sends the same ones with blocking sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from hub_client.http import HttpClient
from hub_client.request import Request, build_path, response_reader, without_none
from hub_client.sync_http import SyncHttpClient, run_blocking

ItemChange = Literal["read", "unread", "seen", "archive", "unarchive", "delete"]


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item. data: the JSON of its publisher. created_at: Unix seconds. topic: the topic that
    keeps it for all of its users, None for the user's own items and those to all users.
    """

    id: str
    event: str
    data: Any
    category: str | None = None
    key: str | None = None
    topic: str | None = None
    created_at: float
    seen: bool
    read: bool
    archived: bool


class InboxCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of the items that are not archived.

    unread, unseen: those of the user's own items, true at the position `cursor` of the user's
    events. topic_unread, topic_unseen: those of topics and of all users.
    """

    unread: int
    unseen: int
    cursor: str
    topic_unread: int = 0
    topic_unseen: int = 0


class InboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items, the newest first, and the counts of all items; see InboxCounts.

    next: what `before` must be for the next page, None on the last one.
    """

    items: Sequence[InboxItem]
    unread: int
    unseen: int
    cursor: str
    topic_unread: int = 0
    topic_unseen: int = 0
    next: str | None = None


_read_page: Final = response_reader(InboxPage)
_read_counts: Final = response_reader(InboxCounts)


class InboxRequests:
    """The requests of one inbox. path: its segments. user: the parameter of `hub dev`."""

    def __init__(self, *path: str, user: str | None = None) -> None:
        self._path = path
        self._user = user

    def list(self, **query: Any) -> Request[InboxPage]:
        """Build `GET /inbox`."""
        for name in ("unread", "archived"):
            if query.get(name) is not None:
                query[name] = "true" if query[name] else "false"
        path = build_path(*self._path, **query, user=self._user)
        return Request(method="GET", path=path, read=_read_page)

    def change(
        self, change: ItemChange, items: Sequence[str], up_to: str | None, category: str | None
    ) -> Request[InboxCounts]:
        """Build `POST /inbox/{change}`. Raise ValueError unless it is clear which items."""
        target = without_none({"items": [*items] or None, "up_to": up_to, "category": category})
        if len(target) != 1:
            raise ValueError("give the ids of items, or up_to, or category")
        return Request(
            method="POST",
            path=build_path(*self._path, change, user=self._user),
            body=msgspec.json.encode(target),
            read=_read_counts,
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


class SyncInbox:
    """`hub.inbox`, or `hub.inbox_of(user)`: the methods of Inbox; they block."""

    def __init__(self, client: SyncHttpClient, requests: InboxRequests) -> None:
        self._client = client
        self._requests = requests

    def list(
        self,
        *,
        category: str | None = None,
        unread: bool = False,
        archived: bool | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> InboxPage:
        """See Inbox.list."""
        request = self._requests.list(
            category=category,
            unread=unread or None,
            archived=archived,
            before=before,
            limit=limit,
        )
        return run_blocking(self._client.send(request))

    def change(
        self,
        change: ItemChange,
        *items: str,
        up_to: str | None = None,
        category: str | None = None,
    ) -> InboxCounts:
        """See Inbox.change."""
        request = self._requests.change(change, items, up_to, category)
        return run_blocking(self._client.send(request))

    def read(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.read."""
        return self.change("read", *items, up_to=up_to, category=category)

    def unread(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.unread."""
        return self.change("unread", *items, up_to=up_to, category=category)

    def seen(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.seen."""
        return self.change("seen", *items, up_to=up_to, category=category)

    def archive(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.archive."""
        return self.change("archive", *items, up_to=up_to, category=category)

    def unarchive(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.unarchive."""
        return self.change("unarchive", *items, up_to=up_to, category=category)

    def delete(
        self, *items: str, up_to: str | None = None, category: str | None = None
    ) -> InboxCounts:
        """See Inbox.delete."""
        return self.change("delete", *items, up_to=up_to, category=category)
