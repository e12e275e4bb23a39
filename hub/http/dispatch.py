"""Leads requests to the handlers of their routes, with less work than aiohttp does for it.

The way from a route through the middlewares to its handler is the same for each request, so it is
made once for each route. What aiohttp's router finds for a path without parameters is always the
same, so that is made once, too. aiohttp itself gets what reaches no route, and requests with
`Expect`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import PlainResource, UrlMappingMatchInfo

from hub.http.errors import Handler

HandleRequest = Callable[[Any], Awaitable[web.StreamResponse]]


class Dispatcher:
    """The routes of an application.

    app: frozen, so that its routes and middlewares stay as they are. handle: aiohttp's way for all
    other requests.
    """

    def __init__(self, app: web.Application, handle: HandleRequest) -> None:
        self._app = app
        self._handle = handle
        self._handlers = {route: _with_middlewares(app, route) for route in app.router.routes()}
        self._plain: dict[tuple[str, str], tuple[UrlMappingMatchInfo, Handler]] = {}
        for route, handler in self._handlers.items():
            if isinstance(route.resource, PlainResource):
                match_info = self._complete(UrlMappingMatchInfo({}, route))
                key = (route.method, route.resource.canonical)
                self._plain.setdefault(key, (match_info, handler))

    def handle(self, request: web.Request) -> Awaitable[web.StreamResponse]:
        """Return the response of the request's route, or that of aiohttp."""
        if hdrs.EXPECT in request.headers:
            return self._handle(request)
        plain = self._plain.get((request.method, request.raw_path))
        if plain is None:
            return self._resolve(request)
        request._match_info, handler = plain  # as aiohttp does
        return handler(request)

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        match_info = await self._app.router.resolve(request)
        handler = self._handlers.get(match_info.route)
        if handler is None:  # 404 or 405
            return await self._handle(request)
        request._match_info = self._complete(match_info)
        return await handler(request)

    def _complete(self, match_info: UrlMappingMatchInfo) -> UrlMappingMatchInfo:
        match_info.add_app(self._app)
        match_info.freeze()
        return match_info


def _with_middlewares(app: web.Application, route: web.AbstractRoute) -> Handler:
    handler: Handler = route.handler
    for middleware in reversed(app.middlewares):
        handler = partial(middleware, handler=handler)
    return handler
