"""The demo page at `/`, and a route that lets it send a notification to its own user.

The page is served only if the settings enable it. `/dev/publish` exists only on loopback without
authentication: publishing belongs on the internal listener, which a page cannot reach.
"""

from __future__ import annotations

import html

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.api.publish_requests import NULL, PublishResponse, publish_response
from hub.core.channel import user_channel
from hub.core.event import compact_json
from hub.core.inbox import InboxOptions
from hub.engine.publisher import Publisher, PublishRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import OPEN_USER
from hub.http.routing import (
    USER,
    Operation,
    build_routes,
    json,
    json_body,
)
from hub.http.static_files import FILE_NAME, FILE_RESPONSES, PAGE_RESPONSES, StaticFiles


class NotificationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /dev/publish. `data` is any JSON. `inbox` keeps the event in the inbox."""

    event: str = "notification"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NULL)
    inbox: bool = False


class DemoRoutes:
    """The demo's routes.

    publisher: None omits POST /dev/publish. has_faults: whether the page shows what DevFaultRoutes
    can do. command: how the command `hub` is typed in a terminal. has_push: whether the node has
    keys for push notifications.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        publisher: Publisher | None,
        *,
        max_body_bytes: int,
        has_faults: bool = False,
        command: str = "hub",
        has_push: bool = False,
    ) -> None:
        self._authenticator = authenticator
        self._publisher = publisher
        self._max_body_bytes = max_body_bytes
        self._pages = StaticFiles("demo")
        self._libraries = StaticFiles("vendor")
        if publisher is None:  # tells the page to hide its form
            meta = b'name="hub-dev" content="%b"'
            self._pages.replace("demo.html", meta % b"true", meta % b"false")
        if not has_faults:
            meta = b'name="hub-faults" content="%b"'
            self._pages.replace("demo.html", meta % b"true", meta % b"false")
        if not has_push:
            meta = b'name="hub-push" content="%b"'
            self._pages.replace("demo.html", meta % b"true", meta % b"false")
        meta = b'name="hub-command" content="%b"'
        self._pages.replace("demo.html", meta % b"hub", meta % html.escape(command).encode())

    def routes(self) -> list[web.RouteDef]:
        routes = build_routes(self)
        return routes if self._publisher else [each for each in routes if each.method == "GET"]

    @Operation(
        id="getDemoPage",
        method="GET",
        paths=["/"],
        tag="demo",
        summary="Open the demo page",
        responses=PAGE_RESPONSES,
    )
    async def page(self, request: web.Request) -> web.Response:
        """Returns the demo page."""
        return self._pages.response(request, "demo.html")

    @Operation(
        id="getDemoFile",
        method="GET",
        paths=["/demo/{name}"],
        tag="demo",
        summary="Get a file of the demo page",
        parameters=[FILE_NAME],
        responses=FILE_RESPONSES,
        refuses=[404],
    )
    async def file(self, request: web.Request) -> web.Response:
        """Returns a file of the demo page."""
        return self._pages.response(request, request.match_info["name"])

    @Operation(
        id="getVendorFile",
        method="GET",
        paths=["/vendor/{name}"],
        tag="demo",
        summary="Get a library of the demo page",
        parameters=[FILE_NAME],
        responses=FILE_RESPONSES,
        refuses=[404],
    )
    async def library(self, request: web.Request) -> web.Response:
        """Returns a file of a library that the demo page uses, as npm has it."""
        return self._libraries.response(request, request.match_info["name"])

    @Operation(
        id="publishToSelf",
        method="POST",
        paths=["/dev/publish"],
        tag="demo",
        summary="Publish an event to your own stream",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(NotificationBody),
        responses=[json(200, PublishResponse, "The event was published.")],
    )
    async def publish(self, request: web.Request) -> web.Response:
        """Publishes an event to the user of the request."""
        assert self._publisher is not None
        user = (await self._authenticator.identify(request)).user
        body = await read_json(request, NotificationBody, max_bytes=self._max_body_bytes)
        publish_request = PublishRequest(
            to=[user_channel(user)],
            event=body.event,
            data=compact_json(body.data),
            inbox=InboxOptions() if body.inbox else None,
        )
        return json_response(publish_response(await self._publisher.publish(publish_request)))
