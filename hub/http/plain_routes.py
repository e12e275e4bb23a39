"""Finds the routes of paths without parameters in a dictionary, before aiohttp's router.

aiohttp's router, the result of its search and its way to the middlewares cost more than what most
routes do. Such a result is the same for each request to one path, so it is made once here.
Whatever is not in the dictionary goes to aiohttp: paths with parameters, a query or escapes, other
methods, and requests with `Expect`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import PlainResource, UrlMappingMatchInfo

from hub.http.errors import Handler

HandleRequest = Callable[[Any], Awaitable[web.StreamResponse]]


class PlainRoutes:
    """The routes of an application whose paths have no parameters.

    app: frozen, so that its routes and middlewares stay as they are. handle: aiohttp's way for all
    other requests.
    """

    def __init__(self, app: web.Application, handle: HandleRequest) -> None:
        self._handle = handle
        self._routes: dict[tuple[str, str], tuple[UrlMappingMatchInfo, Handler]] = {}
        for route in app.router.routes():
            if isinstance(route.resource, PlainResource):
                key = (route.method, route.resource.canonical)
                self._routes.setdefault(key, _prepare(app, route))

    def handle(self, request: web.Request) -> Awaitable[web.StreamResponse]:
        """Return the response of the route, or of aiohttp's router."""
        route = self._routes.get((request.method, request.raw_path))
        if route is None or hdrs.EXPECT in request.headers:
            return self._handle(request)
        request._match_info, handler = route  # as aiohttp's router does
        return handler(request)


def _prepare(app: web.Application, route: web.AbstractRoute) -> tuple[UrlMappingMatchInfo, Handler]:
    match_info = UrlMappingMatchInfo({}, route)
    match_info.add_app(app)
    match_info.freeze()
    handler: Handler = route.handler
    for middleware in reversed(app.middlewares):
        handler = partial(middleware, handler=handler)
    return match_info, handler
