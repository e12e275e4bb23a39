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
    InboxResponse,
    counts_fields,
    item_filter,
    list_fields,
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
            list_fields(user, await self._inboxes.list(user, item_filter(request)))
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
        counts = await self._inboxes.change(user, change, body.target())
        return json_response(counts_fields(user, counts))


def _user(request: web.Request) -> str:
    return check_user_id(request.match_info["user_id"], path="user_id")
