"""The public application: what browsers and apps may reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from hub.http.cors import AllowedOrigins
from hub.http.errors import handle_errors
from hub.http.request_metrics import RequestMetrics


class Routes(Protocol):
    """A resource's."""

    def routes(self) -> list[web.RouteDef]: ...


def build_public(
    resources: Sequence[Routes],
    origins: AllowedOrigins,
    tally: RequestMetrics,
    *,
    max_body_bytes: int,
) -> web.Application:
    """All public routes."""
    app = web.Application(
        middlewares=[handle_errors, tally.count, origins.preflights], client_max_size=max_body_bytes
    )
    app.on_response_prepare.append(origins.label)
    for resource in resources:
        app.add_routes(resource.routes())
    return app
