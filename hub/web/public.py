"""The public application: what browsers and apps may reach."""

from __future__ import annotations

from aiohttp import web

from hub.web.connect import ConnectRoutes
from hub.web.demo import DemoRoutes
from hub.web.errors import problems
from hub.web.generations import GenerationRoutes
from hub.web.origins import Origins
from hub.web.tickets import TicketRoutes


def build_public(
    connect: ConnectRoutes,
    generations: GenerationRoutes,
    demo: DemoRoutes | None,
    tickets: TicketRoutes,
    origins: Origins,
    *,
    max_body_bytes: int,
) -> web.Application:
    """All public routes; `demo` only where it is switched on."""
    app = web.Application(
        middlewares=[problems, origins.preflights], client_max_size=max_body_bytes
    )
    app.on_response_prepare.append(origins.label)
    app.add_routes(connect.routes())
    app.add_routes(generations.routes())
    app.add_routes(tickets.routes())
    if demo is not None:
        app.add_routes(demo.routes())
    return app
