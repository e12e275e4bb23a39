"""Bodies, parameters and responses of the routes of inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from aiohttp import web

from hub.core.channel import TopicName, check_topic, user_channel
from hub.core.cursor import format_cursor
from hub.core.inbox import (
    MAX_ITEMS_OF_CHANGE,
    ChangeTarget,
    InboxItem,
    ItemChange,
    check_category,
    parse_item_id,
)
from hub.core.inbox_settings import MAX_MUTED, MutedCategories
from hub.error_codes import ROUTE_NOT_FOUND, TOO_MANY_TOPICS
from hub.errors import BadRequest, NotFound
from hub.http.parameters import query_bool, query_count
from hub.http.routing import Parameter
from hub.inbox.inboxes import AllCounts, ListedItems
from hub.ports.inbox import ItemFilter

MAX_BODY_BYTES: Final = 64 * 1024
MAX_PAGE: Final = 200
_DEFAULT_PAGE: Final = 50
_ChangeName = Literal["read", "unread", "seen", "archive", "unarchive", "delete"]
_CHANGES: Final = {name: ItemChange(name) for name in get_args(_ChangeName)}
CHANGE: Final = Parameter("path", "change", _ChangeName, "What happens to the items")
LIST_PARAMETERS: Final = (
    Parameter("query", "category", str, "Only the items of this category"),
    Parameter("query", "unread", bool, "`true`: only the items that are not read and not archived"),
    Parameter(
        "query",
        "archived",
        bool,
        "`true`: only archived items; `false`: only others; both by default",
    ),
    Parameter(
        "query", "before", str, "Only items older than this one: `next`, or the id of an item"
    ),
    Parameter(
        "query",
        "limit",
        Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)],
        f"The maximum number of items; {_DEFAULT_PAGE} by default",
    ),
)


class InboxItemResponse(msgspec.Struct, frozen=True):
    """One item. `data` is the publisher's JSON. `topic` is the topic that keeps it for all of its
    users, or null. `created_at` is in Unix seconds.
    """

    id: str
    event: str
    data: Any
    category: str | None
    key: str | None
    topic: str | None
    created_at: float
    seen: bool
    read: bool
    archived: bool


class InboxCountsResponse(msgspec.Struct, frozen=True):
    """`unread` and `unseen` count the user's own items that are not archived, at the position
    `cursor` of the user's channel. `topic_unread` and `topic_unseen` count those of topics and
    `all`.
    """

    unread: int
    unseen: int
    topic_unread: int
    topic_unseen: int
    cursor: str


class InboxResponse(msgspec.Struct, frozen=True):
    """Items, the newest first, and the counts of all items. `next` is the value of `before` for the
    next page, null on the last one.
    """

    items: list[InboxItemResponse]
    unread: int
    unseen: int
    topic_unread: int
    topic_unseen: int
    cursor: str
    next: str | None


class InboxChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The items to change: exactly one of the three. `items` are ids; `up_to` is the id of an item
    that is changed with all older ones; `category` changes all items of a category.
    """

    items: list[str] | None = None
    up_to: str | None = None
    category: str | None = None

    def target(self) -> ChangeTarget:
        """Return the items. Raise BadRequest that names the field."""
        if (self.items is not None) + (self.up_to is not None) + (self.category is not None) != 1:
            raise BadRequest("give exactly one of items, up_to, category", path="items")
        if self.up_to is not None:
            return ChangeTarget(up_to=parse_item_id(self.up_to, path="up_to"))
        if self.category is not None:
            return ChangeTarget(category=_category(self.category))
        items = self.items or []
        if len(items) > MAX_ITEMS_OF_CHANGE:
            raise BadRequest(f"items has at most {MAX_ITEMS_OF_CHANGE} ids", path="items")
        return ChangeTarget(
            items=[parse_item_id(item, path=f"items[{n}]") for n, item in enumerate(items)]
        )


class InboxSubscriptionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The topics whose items the inbox shows."""

    topics: list[TopicName]

    def checked(self, *, max_topics: int) -> list[str]:
        """Return the topics, each once. Raise BadRequest that names the field."""
        topics = [check_topic(t, path=f"topics[{n}]") for n, t in enumerate(self.topics)]
        topics = [*dict.fromkeys(topics)]
        if len(topics) > max_topics:
            raise BadRequest(
                f"an inbox shows at most {max_topics} topics", code=TOO_MANY_TOPICS, path="topics"
            )
        return topics


class InboxSubscriptionsResponse(msgspec.Struct, frozen=True):
    """The topics whose items the inbox shows."""

    topics: Sequence[str]


class MutedBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Categories of which the user wants no items in the inbox, or no push notifications."""

    inbox: list[str] | None = None
    push: list[str] | None = None


class InboxPreferencesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user wants. An event that is `required` is kept all the same."""

    muted: MutedBody

    def categories(self) -> MutedCategories:
        """Return the categories, each once. Raise BadRequest that names the field."""
        return MutedCategories(
            inbox=_categories(self.muted.inbox, "inbox"), push=_categories(self.muted.push, "push")
        )


class MutedResponse(msgspec.Struct, frozen=True):
    """Categories of which the user wants no items in the inbox, or no push notifications."""

    inbox: Sequence[str]
    push: Sequence[str]


class InboxPreferencesResponse(msgspec.Struct, frozen=True):
    """What a user wants."""

    muted: MutedResponse


def preferences_response(muted: MutedCategories) -> InboxPreferencesResponse:
    """Return the response with a user's preferences."""
    return InboxPreferencesResponse(MutedResponse(muted.inbox, muted.push))


def _categories(names: Sequence[str] | None, kind: str) -> list[str]:
    path = f"muted.{kind}"
    checked = [_category(name, path=f"{path}[{n}]") for n, name in enumerate(names or ())]
    if len(checked) > MAX_MUTED:
        raise BadRequest(f"{path} has at most {MAX_MUTED} categories", path=path)
    return [*dict.fromkeys(checked)]


def item_filter(request: web.Request) -> ItemFilter:
    """Return the filter of a request. Raise BadRequest that names the parameter."""
    before, category = request.query.get("before"), request.query.get("category")
    return ItemFilter(
        limit=query_count(request, "limit", default=_DEFAULT_PAGE, max_count=MAX_PAGE),
        before=parse_item_id(before, path="before") if before else None,
        category=_category(category) if category else None,
        unread=query_bool(request, "unread") or False,
        archived=query_bool(request, "archived"),
    )


def requested_change(request: web.Request) -> ItemChange:
    """Return the change that the path names. Raise NotFound."""
    change = _CHANGES.get(request.match_info["change"])
    if change is None:
        raise NotFound(f"the changes of items are {', '.join(_CHANGES)}", code=ROUTE_NOT_FOUND)
    return change


def counts_fields(user: str, counts: AllCounts) -> dict[str, Any]:
    """Return the fields of InboxCountsResponse."""
    return {
        "unread": counts.unread,
        "unseen": counts.unseen,
        "topic_unread": counts.topic_unread,
        "topic_unseen": counts.topic_unseen,
        "cursor": format_cursor({user_channel(user): counts.position}),
    }


def list_fields(user: str, listed: ListedItems) -> dict[str, Any]:
    """Return the fields of InboxResponse."""
    items: Sequence[InboxItem] = listed.items
    return {"items": items, **counts_fields(user, listed.counts), "next": listed.next}


def _category(text: str, *, path: str = "category") -> str:
    if not text:
        raise BadRequest("a category must not be empty", path=path)
    return check_category(text, path=path)
