"""Leads requests to the handlers of their routes, with less work than aiohttp does for it.

The way from a route through the middlewares to its handler is the same for each request, so it is
made once for each route. What aiohttp's router finds for a path without parameters is always the
same, so that is made once, too. aiohttp itself gets what reaches no route, and requests with
`Expect`.

A client may disconnect as soon as it has sent its request. A request that changes something is
carried out all the same, also where the handlers of streams are cancelled then: half of a change
would wait for the checks that repair what a lost process leaves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import PlainResource, UrlMappingMatchInfo

from hub.engine.tasks import BackgroundTasks
from hub.http.errors import Handler
from hub.http.routing import operation_of

HandleRequest = Callable[[Any], Awaitable[web.StreamResponse]]


class Dispatcher:
    """The routes of an application.

    app: frozen, so that its routes and middlewares stay as they are. handle: aiohttp's way for all
    other requests. cancels_handlers: whether handlers are cancelled when their client disconnects.
    """

    def __init__(
        self, app: web.Application, handle: HandleRequest, *, cancels_handlers: bool
    ) -> None:
        self._app = app
        self._handle = handle
        self._cancels_handlers = cancels_handlers
        self._background_tasks = BackgroundTasks()
        self._handlers = {route: self._with_middlewares(route) for route in app.router.routes()}
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

    def _with_middlewares(self, route: web.AbstractRoute) -> Handler:
        handler: Handler = route.handler
        if self._cancels_handlers and _makes_change(route):
            change: Any = route.handler  # a coroutine function, as those of all operations
            handler = partial(self._finish, change)
        for middleware in reversed(self._app.middlewares):
            handler = partial(middleware, handler=handler)
        return handler

    async def _finish(
        self,
        handler: Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]],
        request: web.Request,
    ) -> web.StreamResponse:
        """Return the response of a handler, which goes on when this call is cancelled."""
        handling = handler(request)
        return await self._background_tasks.finish("change", handling, lambda response: None)


def _makes_change(route: web.AbstractRoute) -> bool:
    """Return whether requests change something, and their responses are neither long nor late."""
    operation = operation_of(route.handler)
    return operation is not None and operation.method != "GET" and not operation.long_lived
