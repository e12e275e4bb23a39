"""A SERVER span for each request to a listener, in the trace of who asks (`traceparent`).

The span ends where the answer's headers leave: what a stream does after that is nobody's request,
and no later work of the connection belongs to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Token
from typing import Final

from aiohttp import hdrs, web
from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from hub.tracing.propagation import from_headers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # every few seconds, for ever
_KNOWN_METHODS: Final = frozenset(hdrs.METH_ALL)


class _Open:
    """A request that is not answered yet; until then its span is the current one."""

    def __init__(self, span: Span, asked_from: Context) -> None:
        self._span = span
        self._token: Token[Context] = context.attach(set_span_in_context(span, asked_from))

    def end(self, status: int | None, error: str = "") -> None:
        """Answered so; None: nobody is there to be answered."""
        context.detach(self._token)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            error = error or (str(status) if status >= 500 else "")
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


_OPEN: Final = web.RequestKey("open", _Open)


class TracedRequests:
    """Of one listener."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def watch(self, app: web.Application) -> None:
        """Outside of the application's own middlewares, so that it sees what is answered."""
        app.middlewares.insert(0, self._trace)
        app.on_response_prepare.append(_headers_leave)

    @web.middleware
    async def _trace(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_pattern(request)
        if route in _PROBES:
            return await handler(request)
        self._begin(request, route)
        status, error = None, ""
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as raised:
            status = raised.status
            raise
        except asyncio.CancelledError:
            raise  # a WebSocket that began (it has no headers to leave), or the client has gone
        except Exception as raised:
            status, error = 500, type(raised).__name__
            raise
        finally:
            opened = request.pop(_OPEN, None)
            if opened is not None:
                opened.end(status, error)
        return response

    def _begin(self, request: web.Request, route: str) -> None:
        method = request.method if request.method in _KNOWN_METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": request.scheme}
        name = "HTTP" if method == "_OTHER" else method
        if route != "unknown":
            attributes["http.route"] = route
            name = f"{name} {route}"
        asked_from = from_headers(request.headers)
        span = self._tracer.start_span(
            name, asked_from, kind=SpanKind.SERVER, attributes=attributes
        )
        request[_OPEN] = _Open(span, asked_from)


def _route_pattern(request: web.Request) -> str:
    """Return the pattern of the route, never the path: it may contain a user id."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"


async def _headers_leave(request: web.Request, response: web.StreamResponse) -> None:
    """A stream begins: an ordinary answer is prepared when its span has ended."""
    opened = request.pop(_OPEN, None)
    if opened is not None:
        opened.end(response.status)
