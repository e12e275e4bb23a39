"""The internal application: what backends, operators and probes may reach."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from hub.web.errors import problems
from hub.web.listeners import document
from hub.web.openapi import OpenApiRoutes
from hub.web.public import Routes
from hub.web.tally import Tally


def build_internal(
    resources: Sequence[Routes], tally: Tally, *, max_body_bytes: int
) -> web.Application:
    """All internal routes."""
    app = web.Application(middlewares=[problems, tally.count], client_max_size=max_body_bytes)
    for resource in (*resources, OpenApiRoutes(document)):
        app.add_routes(resource.routes())
    return app
