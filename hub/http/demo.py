"""The demo page at `/`, and the one route that lets it send a notification to its own user.

Only where it is switched on. `/dev/publish` exists only in the open, loopback mode: publishing
belongs on the internal listener, and a page cannot reach that.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.api.publish_requests import NULL, PublishResponse, publish_response
from hub.core.channel import user_channel
from hub.core.event import compact_json
from hub.engine.publisher import Publisher, PublishRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import OPEN_USER
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)
from hub.http.static_files import TYPES, StaticFiles


class NotificationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /dev/publish: an event to oneself."""

    event: str = "notification"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NULL)


class DemoRoutes:
    """The page and its files; with a publisher, the note to oneself too."""

    def __init__(
        self, authenticator: Authenticator, publisher: Publisher | None, *, max_body_bytes: int
    ) -> None:
        self._authenticator = authenticator
        self._publisher = publisher
        self._max_body_bytes = max_body_bytes
        self._pages = StaticFiles("demo")
        if publisher is None:  # the page hides its form by this
            meta = b'name="hub-dev" content="%b"'
            self._pages.replace("demo.html", meta % b"true", meta % b"false")

    def routes(self) -> list[web.RouteDef]:
        all_of_them = build_routes(self)
        return all_of_them if self._publisher else [r for r in all_of_them if r.method == "GET"]

    @Operation(
        method="GET",
        paths=["/"],
        tag="demo",
        summary="The demo page",
        responses=[ResponseSpec(status=200, description="The page", content={"text/html": None})],
    )
    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._pages.response("demo.html")

    @Operation(
        method="GET",
        paths=["/demo/{name}"],
        tag="demo",
        summary="A file of the demo page",
        parameters=[Parameter("path", "name", str, "The file's name")],
        responses=[
            ResponseSpec(status=200, description="The file", content=dict.fromkeys(TYPES.values()))
        ],
        refuses=[404],
    )
    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._pages.response(request.match_info["name"])

    @Operation(
        method="POST",
        paths=["/dev/publish"],
        tag="demo",
        summary="Publish an event to oneself",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(NotificationBody),
        responses=[json(200, PublishResponse, "Published")],
    )
    async def note_to_self(self, request: web.Request) -> web.Response:
        """An event into the caller's own channel."""
        assert self._publisher is not None
        user = (await self._authenticator.identify(request)).user
        body = await read_json(request, NotificationBody, max_bytes=self._max_body_bytes)
        publish_request = PublishRequest(
            to=[user_channel(user)], event=body.event, data=compact_json(body.data)
        )
        return json_response(publish_response(await self._publisher.publish(publish_request)))
