"""A worker's own listener: probes and metrics, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from hub.web.bodies import json_response
from hub.web.errors import problems
from hub.web.metrics import MetricsRoutes


def build_worker(
    ping: Callable[[], Awaitable[None]], state: Callable[[], str], metrics: Callable[[], bytes]
) -> web.Application:
    """ping: returns when the broker answers, or raises BrokerUnavailable (503). state: `running`
    or `draining`.
    """

    async def healthz(request: web.Request) -> web.Response:
        return json_response({"status": "ok", "state": state()})

    async def readyz(request: web.Request) -> web.Response:
        await ping()
        ready = state() == "running"
        return json_response({"status": state()}, status=200 if ready else 503)

    async def text() -> bytes:
        return metrics()

    app = web.Application(middlewares=[problems])
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            *MetricsRoutes(text).routes(),
        ]
    )
    return app
