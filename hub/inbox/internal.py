"""The inboxes of all users on the internal listener."""

from __future__ import annotations

from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import check_user_id
from hub.http.json_body import json_response, read_json
from hub.http.parameters import USER_ID
from hub.http.routing import Operation, build_routes, json, json_body, key
from hub.inbox.inboxes import Inboxes
from hub.inbox.requests import (
    CHANGE,
    LIST_PARAMETERS,
    MAX_BODY_BYTES,
    InboxChangeBody,
    InboxCountsResponse,
    InboxPreferencesBody,
    InboxPreferencesResponse,
    InboxResponse,
    InboxSubscriptionsBody,
    InboxSubscriptionsResponse,
    counts_fields,
    item_filter,
    list_fields,
    preferences_response,
    requested_change,
)


class UserInboxRoutes:
    """The routes with which backends read and change the inboxes of users."""

    def __init__(self, inboxes: Inboxes, keys: ApiKeys) -> None:
        self._inboxes = inboxes
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listUserInbox",
        method="GET",
        paths=["/users/{user_id}/inbox"],
        tag="users",
        summary="Read the inbox of a user",
        security=key("read"),
        parameters=[USER_ID, *LIST_PARAMETERS],
        responses=[json(200, InboxResponse, "The items, the newest first, and the counts.")],
    )
    async def read(self, request: web.Request) -> web.Response:
        """Returns the items that the hub keeps for a user, and the counts of all of them."""
        self._keys.check(request, "read")
        user = _user(request)
        return json_response(
            list_fields(user, await self._inboxes.list(user, item_filter(request), _every_topic))
        )

    @Operation(
        id="changeUserInbox",
        method="POST",
        paths=["/users/{user_id}/inbox/{change}"],
        tag="users",
        summary="Change items in the inbox of a user",
        security=key("publish"),
        parameters=[USER_ID, CHANGE],
        body=json_body(InboxChangeBody),
        responses=[json(200, InboxCountsResponse, "The counts after the change.")],
        refuses=[404],
    )
    async def change(self, request: web.Request) -> web.Response:
        """Does to items what the user could do, for example after the user has read them in another
        program. The user's devices get the event `inbox.changed`.
        """
        self._keys.check(request, "publish")
        user, change = _user(request), requested_change(request)
        body = await read_json(request, InboxChangeBody, max_bytes=MAX_BODY_BYTES)
        counts = await self._inboxes.change(user, change, body.target(), _every_topic)
        return json_response(counts_fields(user, counts))

    @Operation(
        id="getUserInboxSubscriptions",
        method="GET",
        paths=["/users/{user_id}/inbox/subscriptions"],
        tag="users",
        summary="Read the topics of a user's inbox",
        security=key("read"),
        parameters=[USER_ID],
        responses=[json(200, InboxSubscriptionsResponse, "The topics.")],
    )
    async def subscriptions(self, request: web.Request) -> web.Response:
        """Returns the topics whose items the inbox of a user shows."""
        self._keys.check(request, "read")
        topics = await self._inboxes.topics(_user(request))
        return json_response(InboxSubscriptionsResponse(topics))

    @Operation(
        id="putUserInboxSubscriptions",
        method="PUT",
        paths=["/users/{user_id}/inbox/subscriptions"],
        tag="users",
        summary="Replace the topics of a user's inbox",
        security=key("publish"),
        parameters=[USER_ID],
        body=json_body(InboxSubscriptionsBody),
        responses=[json(200, InboxSubscriptionsResponse, "The topics.")],
    )
    async def subscribe(self, request: web.Request) -> web.Response:
        """Replaces the topics whose items the inbox of a user shows. The user sees only those that
        the user's token allows when the inbox is read.
        """
        self._keys.check(request, "publish")
        user = _user(request)
        body = await read_json(request, InboxSubscriptionsBody, max_bytes=MAX_BODY_BYTES)
        topics = body.checked(max_topics=self._inboxes.max_topics)
        stored = await self._inboxes.subscribe(user, topics)
        return json_response(InboxSubscriptionsResponse(stored))

    @Operation(
        id="getUserInboxPreferences",
        method="GET",
        paths=["/users/{user_id}/inbox/preferences"],
        tag="users",
        summary="Read the preferences of a user",
        security=key("read"),
        parameters=[USER_ID],
        responses=[json(200, InboxPreferencesResponse, "The preferences.")],
    )
    async def preferences(self, request: web.Request) -> web.Response:
        """Returns the categories that a user has muted."""
        self._keys.check(request, "read")
        return json_response(preferences_response(await self._inboxes.muted(_user(request))))

    @Operation(
        id="putUserInboxPreferences",
        method="PUT",
        paths=["/users/{user_id}/inbox/preferences"],
        tag="users",
        summary="Replace the preferences of a user",
        security=key("publish"),
        parameters=[USER_ID],
        body=json_body(InboxPreferencesBody),
        responses=[json(200, InboxPreferencesResponse, "The preferences.")],
    )
    async def mute(self, request: web.Request) -> web.Response:
        """Replaces the categories that a user has muted."""
        self._keys.check(request, "publish")
        user = _user(request)
        body = await read_json(request, InboxPreferencesBody, max_bytes=MAX_BODY_BYTES)
        muted = await self._inboxes.mute(user, body.categories())
        return json_response(preferences_response(muted))


def _user(request: web.Request) -> str:
    return check_user_id(request.match_info["user_id"], path="user_id")


def _every_topic(topic: str) -> bool:
    return True
