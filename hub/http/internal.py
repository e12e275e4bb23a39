"""The internal application: what backends, operators and probes may reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from hub.http.errors import handle_errors
from hub.http.openapi.document import OpenApiRoutes
from hub.http.public import Routes
from hub.http.request_metrics import RequestMetrics


def build_internal(
    resources: Sequence[Routes],
    tally: RequestMetrics,
    build_openapi: Callable[[], dict[str, Any]],
    *,
    max_body_bytes: int,
) -> web.Application:
    """All internal routes."""
    app = web.Application(middlewares=[handle_errors, tally.count], client_max_size=max_body_bytes)
    for resource in (*resources, OpenApiRoutes(build_openapi)):
        app.add_routes(resource.routes())
    return app
