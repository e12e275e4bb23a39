"""The public application: what browsers and apps may reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from hub.web.errors import problems
from hub.web.origins import Origins
from hub.web.tally import Tally


class Routes(Protocol):
    """A resource's."""

    def routes(self) -> list[web.RouteDef]: ...


def build_public(
    resources: Sequence[Routes], origins: Origins, tally: Tally, *, max_body_bytes: int
) -> web.Application:
    """All public routes."""
    app = web.Application(
        middlewares=[problems, tally.count, origins.preflights], client_max_size=max_body_bytes
    )
    app.on_response_prepare.append(origins.label)
    for resource in resources:
        app.add_routes(resource.routes())
    return app
