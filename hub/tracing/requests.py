"""A SERVER span for each request to a listener, in the trace of the caller (`traceparent`).

The span ends when the response headers are sent. What a stream sends later does not belong to it.
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
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # requested every few seconds
_KNOWN_METHODS: Final = frozenset(hdrs.METH_ALL)


class _OpenRequest:
    """A request without a response yet; until then its span is the current one."""

    def __init__(self, span: Span, caller: Context) -> None:
        self._span = span
        self._token: Token[Context] = context.attach(set_span_in_context(span, caller))

    def end(self, status: int | None, error: str = "") -> None:
        """End the span. status: None when the client has disconnected."""
        context.detach(self._token)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            error = error or (str(status) if status >= 500 else "")
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


_OPEN_REQUEST: Final = web.RequestKey("open_request", _OpenRequest)


class TracedRequests:
    """Makes the spans of one listener."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def watch(self, app: web.Application) -> None:
        """Add the middleware as the outermost one, so that it sees the final response."""
        app.middlewares.insert(0, self._trace)
        app.on_response_prepare.append(_on_response_prepare)

    @web.middleware
    async def _trace(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_pattern(request)
        if route in _PROBES:
            return await handler(request)
        self._start_span(request, route)
        status, error = None, ""
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as raised:
            status = raised.status
            raise
        except asyncio.CancelledError:
            raise  # a WebSocket, whose headers are not prepared, or the client has disconnected
        except Exception as raised:
            status, error = 500, type(raised).__name__
            raise
        finally:
            open_request = request.pop(_OPEN_REQUEST, None)
            if open_request is not None:
                open_request.end(status, error)
        return response

    def _start_span(self, request: web.Request, route: str) -> None:
        method = request.method if request.method in _KNOWN_METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": request.scheme}
        name = "HTTP" if method == "_OTHER" else method
        if route != "unknown":
            attributes["http.route"] = route
            name = f"{name} {route}"
        caller = from_headers(request.headers)
        span = self._tracer.start_span(name, caller, kind=SpanKind.SERVER, attributes=attributes)
        request[_OPEN_REQUEST] = _OpenRequest(span, caller)


def _route_pattern(request: web.Request) -> str:
    """Return the pattern of the route, never the path: it may contain a user id."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"


async def _on_response_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """End the span of a stream; the span of an ordinary response has ended before."""
    open_request = request.pop(_OPEN_REQUEST, None)
    if open_request is not None:
        open_request.end(response.status)
