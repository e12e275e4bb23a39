"""The inbox on the public listener: the user is the one of the token."""

from __future__ import annotations

from aiohttp import web

from hub.api.authentication import Authenticator
from hub.http.json_body import json_response, read_json
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json, json_body
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


class InboxRoutes:
    """The routes with which users read and change their inboxes."""

    def __init__(self, inboxes: Inboxes, authenticator: Authenticator) -> None:
        self._inboxes = inboxes
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listInbox",
        method="GET",
        paths=["/inbox"],
        tag="inbox",
        summary="Read one's own inbox",
        security=USER,
        parameters=[OPEN_USER, *LIST_PARAMETERS],
        responses=[json(200, InboxResponse, "The items, the newest first, and the counts.")],
    )
    async def read(self, request: web.Request) -> web.Response:
        """Returns the items that the hub keeps for the user, and the counts of all of them. A
        client that follows the user's stream from `cursor` on gets each later change as an event.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        listed = await self._inboxes.list(identity.user, item_filter(request))
        return json_response(list_fields(identity.user, listed))

    @Operation(
        id="changeInbox",
        method="POST",
        paths=["/inbox/{change}"],
        tag="inbox",
        summary="Change items of one's own inbox",
        security=USER,
        parameters=[CHANGE, OPEN_USER],
        body=json_body(InboxChangeBody),
        responses=[json(200, InboxCountsResponse, "The counts after the change.")],
        refuses=[404],
    )
    async def change(self, request: web.Request) -> web.Response:
        """Marks items as read, unread or seen, archives them or takes them back, or deletes them.
        Ids that do not exist are left out. The user's other devices get the event `inbox.changed`.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        change = requested_change(request)
        body = await read_json(request, InboxChangeBody, max_bytes=MAX_BODY_BYTES)
        counts = await self._inboxes.change(identity.user, change, body.target())
        return json_response(counts_fields(identity.user, counts))
