"""The internal application: what backends, operators and probes may reach."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from hub.web.errors import handle_errors
from hub.web.listeners import build_openapi
from hub.web.openapi import OpenApiRoutes
from hub.web.public import Routes
from hub.web.tally import RequestMetrics


def build_internal(
    resources: Sequence[Routes], tally: RequestMetrics, *, max_body_bytes: int
) -> web.Application:
    """All internal routes."""
    app = web.Application(middlewares=[handle_errors, tally.count], client_max_size=max_body_bytes)
    for resource in (*resources, OpenApiRoutes(build_openapi)):
        app.add_routes(resource.routes())
    return app
