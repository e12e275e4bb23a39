"""/console: the operators' page, on the internal listener, and the stream that it lives by.

The page and its files need no key, since they hold nothing; what it shows it asks for with the key
that the operator gives it.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Identity
from hub.api.streams import StreamRequest
from hub.core.ndjson import StreamLine
from hub.core.system_events import CONSOLE_EVENTS, CONTROL_EVENTS
from hub.engine.live_metrics import LIVE_METRICS_CHANNEL
from hub.http.routing import Operation, Parameter, ResponseSpec, build_routes, key
from hub.http.static_files import TYPES, StaticFiles
from hub.http.streams import HttpStreams

_USER: Final = "hub/console"  # no user's id has a slash


class ConsoleRoutes:
    """Routes of the internal listener."""

    def __init__(self, http_streams: HttpStreams, keys: ApiKeys, pages: StaticFiles) -> None:
        self._http_streams = http_streams
        self._keys = keys
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/console"],
        tag="console",
        summary="The operators' page",
        responses=[ResponseSpec(status=200, description="The page", content={"text/html": None})],
    )
    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._pages.response("console.html")

    @Operation(
        method="GET",
        paths=["/console/reports"],
        tag="console",
        summary="What nodes and workers report, live",
        security=key("read"),
        responses=[
            ResponseSpec(
                status=200,
                description="The reports, until one of the two leaves",
                content={"text/event-stream": None, "application/x-ndjson": StreamLine},
                events={**CONSOLE_EVENTS, **CONTROL_EVENTS},
            )
        ],
        refuses=[429],
        long_lived=True,
    )
    async def reports(self, request: web.Request) -> web.StreamResponse:
        """A stream of `hub.report` `{from, at, metrics}`, one from each process every second."""
        self._keys.check(request, "read")
        stream = StreamRequest(identity=Identity(_USER), channels=[LIVE_METRICS_CHANNEL], cursor={})
        return await self._http_streams.stream(request, stream)

    @Operation(
        method="GET",
        paths=["/console/{name}"],
        tag="console",
        summary="A file of the operators' page",
        parameters=[Parameter("path", "name", str, "The file's name")],
        responses=[
            ResponseSpec(status=200, description="The file", content=dict.fromkeys(TYPES.values()))
        ],
        refuses=[404],
    )
    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._pages.response(request.match_info["name"])
