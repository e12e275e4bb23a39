"""The inbox on the public listener: the user is the one of the token."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from hub.api.authentication import Authenticator, Identity
from hub.core.channel import allows_topic
from hub.http.json_body import json_response, read_json
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json, json_body
from hub.inbox.inboxes import AllowsTopic, Inboxes
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
        listed = await self._inboxes.list(identity.user, item_filter(request), _allows(identity))
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
        counts = await self._inboxes.change(identity.user, change, body.target(), _allows(identity))
        return json_response(counts_fields(identity.user, counts))

    @Operation(
        id="getInboxSubscriptions",
        method="GET",
        paths=["/inbox/subscriptions"],
        tag="inbox",
        summary="Read the topics of one's own inbox",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(200, InboxSubscriptionsResponse, "The topics.")],
    )
    async def subscriptions(self, request: web.Request) -> web.Response:
        """Returns the topics whose items the inbox shows. A topic that the token does not allow is
        left out.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        topics = await self._inboxes.topics(identity.user)
        allowed = [topic for topic in topics if allows_topic(identity.topics, topic)]
        return json_response(InboxSubscriptionsResponse(allowed))

    @Operation(
        id="putInboxSubscriptions",
        method="PUT",
        paths=["/inbox/subscriptions"],
        tag="inbox",
        summary="Replace the topics of one's own inbox",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(InboxSubscriptionsBody),
        responses=[json(200, InboxSubscriptionsResponse, "The topics.")],
    )
    async def subscribe(self, request: web.Request) -> web.Response:
        """Replaces the topics whose items the inbox shows. The token must allow each of them, now
        and whenever the inbox is read. What the user did with items of other topics is forgotten.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        body = await read_json(request, InboxSubscriptionsBody, max_bytes=MAX_BODY_BYTES)
        topics = body.checked(max_topics=self._inboxes.max_topics)
        for topic in topics:
            identity.check_may_follow(topic)
        stored = await self._inboxes.subscribe(identity.user, topics)
        return json_response(InboxSubscriptionsResponse(stored))

    @Operation(
        id="getInboxPreferences",
        method="GET",
        paths=["/inbox/preferences"],
        tag="inbox",
        summary="Read one's own preferences",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(200, InboxPreferencesResponse, "The preferences.")],
    )
    async def preferences(self, request: web.Request) -> web.Response:
        """Returns the categories that the user has muted."""
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        return json_response(preferences_response(await self._inboxes.muted(identity.user)))

    @Operation(
        id="putInboxPreferences",
        method="PUT",
        paths=["/inbox/preferences"],
        tag="inbox",
        summary="Replace one's own preferences",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(InboxPreferencesBody),
        responses=[json(200, InboxPreferencesResponse, "The preferences.")],
    )
    async def mute(self, request: web.Request) -> web.Response:
        """Replaces the muted categories: later events of a category in `muted.inbox` are delivered
        and not kept, unless they are `required`; those in `muted.push` are not pushed.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        body = await read_json(request, InboxPreferencesBody, max_bytes=MAX_BODY_BYTES)
        muted = await self._inboxes.mute(identity.user, body.categories())
        return json_response(preferences_response(muted))


def _allows(identity: Identity) -> AllowsTopic:
    return partial(allows_topic, identity.topics)
