"""What a user has chosen for the inbox: the topics whose items it shows, and muted categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hub.core.shared_items import SharedEntry

MAX_MUTED: Final = 100


class MutedCategories(msgspec.Struct, frozen=True, kw_only=True):
    """The categories of which a user wants nothing: inbox keeps no items, push sends nothing."""

    inbox: Sequence[str] = ()
    push: Sequence[str] = ()


class InboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one user.

    topics: the topics whose items the inbox shows. muted: see MutedCategories. shared: the user's
    states of the items of topics and `all` (shared_items.py), by source.
    """

    topics: Sequence[str] = ()
    muted: MutedCategories = MutedCategories()
    shared: Mapping[str, str] = {}

    def shows(self, entry: SharedEntry) -> bool:
        """Return whether the inbox shows an item of a topic or `all`."""
        return entry.required or entry.category not in self.muted.inbox
