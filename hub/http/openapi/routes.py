"""GET /openapi.json: the OpenAPI documents, on the internal listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from hub.errors import BadRequest
from hub.http.routing import Operation, Parameter, build_routes, json

_LISTENERS: Final = ("public", "internal", "worker")
_DEFAULT_LISTENER: Final = "internal"
_Listener = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(_LISTENERS)})]


class OpenApiRoutes:
    """The route of the documents. build: makes the document of a listener; called once for each."""

    def __init__(self, build: Callable[[str], dict[str, Any]]) -> None:
        self._build = build
        self._bodies: dict[str, bytes] = {}  # the encoded documents, by listener

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getOpenApi",
        method="GET",
        paths=["/openapi.json"],
        tag="operation",
        summary="Get the OpenAPI document of a listener",
        parameters=[
            Parameter(
                "query",
                "listener",
                _Listener,
                f"Whose document; `{_DEFAULT_LISTENER}` by default",
            )
        ],
        responses=[json(200, dict[str, Any], "The OpenAPI 3.1 document.")],
    )
    async def document(self, request: web.Request) -> web.Response:
        """Returns the OpenAPI document of all routes of a listener. It needs no API key."""
        listener = request.query.get("listener", _DEFAULT_LISTENER)
        if listener not in _LISTENERS:
            raise BadRequest(f"listener must be one of {', '.join(_LISTENERS)}", path="listener")
        if listener not in self._bodies:
            self._bodies[listener] = msgspec.json.encode(self._build(listener))
        return web.Response(body=self._bodies[listener], content_type="application/json")
