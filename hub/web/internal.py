"""The internal application: what backends, operators and probes may reach."""

from __future__ import annotations

from aiohttp import web

from hub.web.errors import problems
from hub.web.health import HealthRoutes
from hub.web.publish import PublishRoutes
from hub.web.publish_batch import PublishBatchRoutes
from hub.web.usage import UsageRoutes
from hub.web.users import UserRoutes


def build_internal(
    publish: PublishRoutes,
    publish_batch: PublishBatchRoutes,
    health: HealthRoutes,
    usage: UsageRoutes,
    users: UserRoutes,
    *,
    max_body_bytes: int,
) -> web.Application:
    """All internal routes."""
    app = web.Application(middlewares=[problems], client_max_size=max_body_bytes)
    app.add_routes(publish.routes())
    app.add_routes(publish_batch.routes())
    app.add_routes(health.routes())
    app.add_routes(usage.routes())
    app.add_routes(users.routes())
    return app
