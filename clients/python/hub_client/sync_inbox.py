"""SyncInbox: the inbox of a user, without an event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub_client.inbox_requests import (
    InboxCounts,
    InboxPage,
    InboxPreferences,
    InboxRequests,
    ItemChange,
)
from hub_client.sync_http import SyncHttpClient, run_blocking


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

    def subscriptions(self) -> Sequence[str]:
        """See Inbox.subscriptions."""
        return run_blocking(self._client.send(self._requests.subscriptions()))

    def set_subscriptions(self, topics: Sequence[str]) -> Sequence[str]:
        """See Inbox.set_subscriptions."""
        return run_blocking(self._client.send(self._requests.subscriptions(topics)))

    def preferences(self) -> InboxPreferences:
        """See Inbox.preferences."""
        return run_blocking(self._client.send(self._requests.preferences()))

    def set_preferences(self, *, muted: Mapping[str, Sequence[str]]) -> InboxPreferences:
        """See Inbox.set_preferences."""
        return run_blocking(self._client.send(self._requests.preferences(muted)))
