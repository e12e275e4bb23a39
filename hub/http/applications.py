"""The applications of the listeners: routes of resources behind the same middlewares.

Two applications on two listeners serve a node, so that browsers cannot reach what is meant for
backends and operators. A worker has a third one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiohttp import web

from hub.api.origins import AllowedOrigins
from hub.http.cors import CorsHeaders
from hub.http.errors import OTHER_LISTENER, ErrorFormat, ErrorMiddleware, OtherListener
from hub.http.openapi.routes import OpenApiRoutes
from hub.http.request_metrics import RequestMetrics
from hub.http.routes.probes import MetricsRoutes, WorkerProbeRoutes
from hub.http.unsupported_headers import refuse_unsupported_headers


class Routes(Protocol):
    """The routes of one resource."""

    def routes(self) -> list[web.RouteDef]: ...


def build_public(
    resources: Sequence[Routes],
    origins: AllowedOrigins,
    metrics: RequestMetrics,
    *,
    error_formats: Sequence[ErrorFormat] = (),
    max_body_bytes: int,
) -> web.Application:
    """Build the application for browsers and apps."""
    cors = CorsHeaders(origins, metrics.node_metrics)
    app = web.Application(
        middlewares=[
            ErrorMiddleware(error_formats).respond,
            metrics.count,
            cors.answer_preflight,
            refuse_unsupported_headers,
        ],
        client_max_size=max_body_bytes,
    )
    app.on_response_prepare.append(cors.add_headers)
    for resource in resources:
        app.add_routes(resource.routes())
    return app


def build_internal(
    resources: Sequence[Routes],
    metrics: RequestMetrics,
    build_openapi: Callable[[str], dict[str, Any]],
    *,
    max_body_bytes: int,
) -> web.Application:
    """Build the application for backends, operators and probes.

    build_openapi: makes the OpenAPI document of a listener.
    """
    app = web.Application(
        middlewares=[ErrorMiddleware().respond, metrics.count, refuse_unsupported_headers],
        client_max_size=max_body_bytes,
    )
    for resource in (*resources, OpenApiRoutes(build_openapi)):
        app.add_routes(resource.routes())
    return app


def introduce(public: web.Application, internal: web.Application) -> None:
    """Let the error for an unknown route name the listener that has it."""
    public[OTHER_LISTENER] = OtherListener("internal", internal)
    internal[OTHER_LISTENER] = OtherListener("public", public)


def build_worker(
    ping: Callable[[], Awaitable[None]],
    state: Callable[[], str],
    render_metrics: Callable[[], bytes],
) -> web.Application:
    """Build the application of a worker: probes and metrics. ping, state: see WorkerProbeRoutes."""

    async def render() -> bytes:
        return render_metrics()

    app = web.Application(middlewares=[ErrorMiddleware().respond, refuse_unsupported_headers])
    app.add_routes(WorkerProbeRoutes(ping, state).routes())
    app.add_routes(MetricsRoutes(render).routes())
    return app
