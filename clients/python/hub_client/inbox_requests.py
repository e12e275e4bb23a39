"""The inbox of a user: its items, its counts, and the requests that read and change them.

`Inbox` sends the requests with asyncio, `SyncInbox` sends the same ones with blocking sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from hub_client.request import Request, build_path, response_reader, without_none

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


class MutedCategories(msgspec.Struct, frozen=True, kw_only=True):
    """Categories of which a user wants no items in the inbox, or no push notifications."""

    inbox: Sequence[str] = ()
    push: Sequence[str] = ()


class InboxPreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants."""

    muted: MutedCategories


class _Subscriptions(msgspec.Struct, frozen=True):
    topics: Sequence[str]


_read_page: Final = response_reader(InboxPage)
_read_counts: Final = response_reader(InboxCounts)
_read_preferences: Final = response_reader(InboxPreferences)
_read_subscriptions: Final = response_reader(_Subscriptions)


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

    def subscriptions(self, topics: Sequence[str] | None = None) -> Request[Sequence[str]]:
        """Build `GET /inbox/subscriptions`, or `PUT` with the new topics."""
        return Request(
            method="GET" if topics is None else "PUT",
            path=build_path(*self._path, "subscriptions", user=self._user),
            body=None if topics is None else msgspec.json.encode({"topics": [*topics]}),
            read=lambda body: _read_subscriptions(body).topics,
        )

    def preferences(
        self, muted: Mapping[str, Sequence[str]] | None = None
    ) -> Request[InboxPreferences]:
        """Build `GET /inbox/preferences`, or `PUT` with the muted categories."""
        return Request(
            method="GET" if muted is None else "PUT",
            path=build_path(*self._path, "preferences", user=self._user),
            body=None if muted is None else msgspec.json.encode({"muted": muted}),
            read=_read_preferences,
        )
