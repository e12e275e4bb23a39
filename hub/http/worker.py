"""A worker's own listener: probes and metrics, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from hub.http.errors import handle_errors
from hub.http.json_body import json_response
from hub.http.metrics import MetricsRoutes
from hub.http.routing import Operation, build_routes, json


class WorkerHealthResponse(msgspec.Struct, frozen=True):
    """state: `running` or `draining`."""

    status: str
    state: str


class WorkerReadyResponse(msgspec.Struct, frozen=True):
    """status: `running` or `draining`."""

    status: str


class WorkerRoutes:
    """The probes of a worker; they need no key.

    ping: returns when the broker answers, or raises BrokerUnavailable (503). state: `running` or
    `draining`.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        state: Callable[[], str],
    ) -> None:
        self._ping = ping
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/healthz"],
        tag="operation",
        summary="Is the process alive",
        responses=[json(200, WorkerHealthResponse, "It is")],
    )
    async def alive(self, request: web.Request) -> web.Response:
        """200 while the process answers at all."""
        return json_response(WorkerHealthResponse("ok", self._state()))

    @Operation(
        method="GET",
        paths=["/readyz"],
        tag="operation",
        summary="Does it take questions",
        responses=[
            json(200, WorkerReadyResponse, "It does"),
            json(503, WorkerReadyResponse, "It is draining"),
        ],
        refuses=[503],
    )
    async def ready(self, request: web.Request) -> web.Response:
        """200, or 503 while draining or while the broker is away."""
        await self._ping()
        state = self._state()
        return json_response(WorkerReadyResponse(state), status=200 if state == "running" else 503)


def build_worker(
    ping: Callable[[], Awaitable[None]], state: Callable[[], str], metrics: Callable[[], bytes]
) -> web.Application:
    """The application, see WorkerRoutes."""

    async def text() -> bytes:
        return metrics()

    app = web.Application(middlewares=[handle_errors])
    app.add_routes(WorkerRoutes(ping, state).routes())
    app.add_routes(MetricsRoutes(text).routes())
    return app
