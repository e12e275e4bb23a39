"""/console: the operators' page, on the internal listener, and the stream that it lives by.

The page and its files need no key, since they hold nothing; what it shows it asks for with the key
that the operator gives it.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from hub.engine.connection import Connection
from hub.engine.reports import REPORTS
from hub.web.auth import Identity
from hub.web.keys import KeyRing
from hub.web.page_files import PageFiles
from hub.web.streaming import Streams

_USER: Final = "hub:console"


class ConsoleRoutes:
    """Routes of the internal listener."""

    def __init__(self, streams: Streams, keys: KeyRing, pages: PageFiles) -> None:
        self._streams = streams
        self._keys = keys
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/console", self.page),
            web.get("/console/reports", self.reports, allow_head=False),
            web.get("/console/{name}", self.file),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._pages.answer("console.html")

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._pages.answer(request.match_info["name"])

    async def reports(self, request: web.Request) -> web.StreamResponse:
        """A stream of `hub.report` `{from, at, metrics}`, one from each process every second."""
        self._keys.check(request, "read")
        make = partial(Connection, user=_USER, channels=[REPORTS])
        return await self._streams.begin(request, Identity(_USER), {}, make)
