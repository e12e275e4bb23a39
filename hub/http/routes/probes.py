"""GET /healthz, /readyz and /metrics, of nodes and workers. They need no key: they show no user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from hub.engine.streams.connections import Connections
from hub.error_codes import ERROR_CODES, NODE_DRAINING, ErrorCode
from hub.errors import BrokerUnavailable
from hub.http.errors import problem_response
from hub.http.json_body import json_response
from hub.http.routing import Operation, ResponseSpec, build_routes, json
from hub.metrics import CONTENT_TYPE
from hub.ports.backend import BackendHealth


class HealthResponse(msgspec.Struct, frozen=True):
    """The health of a node."""

    status: str
    node: str


class ReadyResponse(msgspec.Struct, frozen=True):
    """`connections` is the number of streams that the node holds."""

    status: str
    node: str
    connections: int


class WorkerHealthResponse(msgspec.Struct, frozen=True):
    """`state` is `running` or `draining`."""

    status: str
    state: str


class WorkerReadyResponse(msgspec.Struct, frozen=True):
    """`status` is `running` or `draining`."""

    status: str


class NodeProbeRoutes:
    """The probes of a node, on its internal listener."""

    def __init__(self, backend: BackendHealth, connections: Connections, *, node: str) -> None:
        self._backend = backend
        self._connections = connections
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getHealth",
        method="GET",
        paths=["/healthz"],
        tag="operation",
        summary="Check that the process is alive",
        responses=[json(200, HealthResponse, "The process is alive.")],
    )
    async def health(self, request: web.Request) -> web.Response:
        """Answers 200 for as long as the process can answer at all."""
        return json_response(HealthResponse("alive", self._node))

    @Operation(
        id="getReadiness",
        method="GET",
        paths=["/readyz"],
        tag="operation",
        summary="Check that the process accepts new work",
        responses=[json(200, ReadyResponse, "The node accepts new clients.")],
        refuses=[503],
    )
    async def ready(self, request: web.Request) -> web.Response:
        """Answers 200, or 503 with the reason: the node drains, or the broker is unavailable or
        refuses writes.
        """
        if self._connections.draining:
            return _unready(NODE_DRAINING, "the node is draining")
        try:
            await self._backend.check_ready()
        except BrokerUnavailable as error:
            return _unready(ERROR_CODES[error.code], str(error))
        return json_response(ReadyResponse("ready", self._node, len(self._connections)))


def _unready(code: ErrorCode, reason: str) -> web.Response:
    return problem_response(503, reason, code=code.name, headers={"Retry-After": "1"})


class WorkerProbeRoutes:
    """The probes of a worker.

    check_broker: returns if the broker accepts writes, or raises BrokerUnavailable. state: returns
    `running` or `draining`.
    """

    def __init__(
        self, check_broker: Callable[[], Awaitable[None]], state: Callable[[], str]
    ) -> None:
        self._check_broker = check_broker
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getHealth",
        method="GET",
        paths=["/healthz"],
        tag="operation",
        summary="Check that the process is alive",
        responses=[json(200, WorkerHealthResponse, "The process is alive.")],
    )
    async def health(self, request: web.Request) -> web.Response:
        """Answers 200 for as long as the process can answer at all."""
        return json_response(WorkerHealthResponse("ok", self._state()))

    @Operation(
        id="getReadiness",
        method="GET",
        paths=["/readyz"],
        tag="operation",
        summary="Check that the process accepts new work",
        responses=[
            json(200, WorkerReadyResponse, "The worker takes generations from the queue."),
            json(503, WorkerReadyResponse, "The worker is draining."),
        ],
        refuses=[503],
    )
    async def ready(self, request: web.Request) -> web.Response:
        """Answers 200, or 503 while the worker drains or the broker is unavailable."""
        await self._check_broker()
        state = self._state()
        return json_response(WorkerReadyResponse(state), status=200 if state == "running" else 503)


class MetricsRoutes:
    """The metrics of a node or a worker. render: returns Prometheus' text format."""

    def __init__(self, render: Callable[[], Awaitable[bytes]]) -> None:
        self._render = render

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getMetrics",
        method="GET",
        paths=["/metrics"],
        tag="operation",
        summary="Read the metrics",
        responses=[
            ResponseSpec(
                status=200,
                description="The metrics in Prometheus' text format.",
                content={"text/plain": None},
            )
        ],
    )
    async def metrics(self, request: web.Request) -> web.Response:
        """Returns the current metrics in Prometheus' text format."""
        return web.Response(body=await self._render(), headers={"Content-Type": CONTENT_TYPE})
