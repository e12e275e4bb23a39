"""The demo page at `/`, and the one route that lets it send a notification to its own user.

Only where it is switched on. `/dev/publish` exists only in the open, loopback mode: publishing
belongs on the internal listener, and a page cannot reach that.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.core.channel import user_channel
from hub.core.event import compact_json
from hub.engine.publisher import Message, Publisher
from hub.web.auth import Door
from hub.web.bodies import read_json
from hub.web.operation import USER, Answer, Operation, Parameter, json, json_body, routes_of
from hub.web.page_files import TYPES, PageFiles
from hub.web.parameters import OPEN_USER
from hub.web.publish import NULL, PublishAnswer, publish


class NoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /dev/publish: an event to oneself."""

    event: str = "notification"
    data: msgspec.Raw = msgspec.field(default_factory=lambda: NULL)


class DemoRoutes:
    """The page and its files; with a publisher, the note to oneself too."""

    def __init__(self, door: Door, publisher: Publisher | None, *, max_body_bytes: int) -> None:
        self._door = door
        self._publisher = publisher
        self._max_body_bytes = max_body_bytes
        self._pages = PageFiles("demo")
        if publisher is None:  # the page hides its form by this
            meta = b'name="hub-dev" content="%b"'
            self._pages.change("demo.html", meta % b"true", meta % b"false")

    def routes(self) -> list[web.RouteDef]:
        all_of_them = routes_of(self)
        return all_of_them if self._publisher else [r for r in all_of_them if r.method == "GET"]

    @Operation(
        method="GET",
        paths=["/"],
        tag="demo",
        summary="The demo page",
        answers=[Answer(status=200, description="The page", content={"text/html": None})],
    )
    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._pages.answer("demo.html")

    @Operation(
        method="GET",
        paths=["/demo/{name}"],
        tag="demo",
        summary="A file of the demo page",
        parameters=[Parameter("path", "name", str, "The file's name")],
        answers=[Answer(status=200, description="The file", content=dict.fromkeys(TYPES.values()))],
        refuses=[404],
    )
    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._pages.answer(request.match_info["name"])

    @Operation(
        method="POST",
        paths=["/dev/publish"],
        tag="demo",
        summary="Publish an event to oneself",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(NoteBody),
        answers=[json(200, PublishAnswer, "Published")],
    )
    async def note_to_self(self, request: web.Request) -> web.Response:
        """An event into the caller's own channel."""
        assert self._publisher is not None
        user = (await self._door.identify(request)).user
        body = await read_json(request, NoteBody, max_bytes=self._max_body_bytes)
        message = Message(to=[user_channel(user)], event=body.event, data=compact_json(body.data))
        return await publish(self._publisher, message)
