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
from hub.web.page_files import PageFiles
from hub.web.publish import publish


class NoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /dev/publish: an event to oneself."""

    event: str = "notification"
    data: msgspec.Raw = msgspec.Raw(b"null")


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
        routes = [web.get("/", self.page), web.get("/demo/{name}", self.file)]
        if self._publisher is not None:
            routes.append(web.post("/dev/publish", self.note_to_self))
        return routes

    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._pages.answer("demo.html")

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._pages.answer(request.match_info["name"])

    async def note_to_self(self, request: web.Request) -> web.Response:
        """An event into the caller's own channel."""
        assert self._publisher is not None
        user = (await self._door.identify(request)).user
        body = await read_json(request, NoteBody, max_bytes=self._max_body_bytes)
        message = Message(to=[user_channel(user)], event=body.event, data=compact_json(body.data))
        return await publish(self._publisher, message)
