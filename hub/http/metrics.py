"""GET /metrics: Prometheus' text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from hub.http.routing import Operation, ResponseSpec, build_routes

_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsRoutes:
    """The route of a node's internal listener and of a worker's; like the probes it needs no key:
    there is nothing of any user in it.
    """

    def __init__(self, render: Callable[[], Awaitable[bytes]]) -> None:
        self._text = render

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/metrics"],
        tag="operation",
        summary="Metrics in Prometheus' text format",
        responses=[ResponseSpec(status=200, description="Metrics", content={"text/plain": None})],
    )
    async def metrics(self, request: web.Request) -> web.Response:
        """As they are now."""
        return web.Response(body=await self._text(), headers={"Content-Type": _CONTENT_TYPE})
