"""Answers on the internal listener: those of one user, and a stop by an operator."""

from __future__ import annotations

from typing import Any, Final

import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import check_user_id
from hub.engine.generations.generations import Generations
from hub.http.json_body import json_response
from hub.http.parameters import GENERATION, USER_ID
from hub.http.routes.generation_pages import PAGE_PARAMETERS, GenerationsPage, list_page
from hub.http.routes.generations import StopResponse
from hub.http.routing import Operation, build_routes, json, key

_log: Final[Any] = structlog.get_logger(__name__)


class OperatorGenerationRoutes:
    """Reading requires the scope `read`, stopping requires `admin`."""

    def __init__(self, generations: Generations, keys: ApiKeys) -> None:
        self._generations = generations
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listUserGenerations",
        method="GET",
        paths=["/users/{user_id}/generations"],
        tag="users",
        summary="List the answers of a user",
        security=key("read"),
        parameters=[USER_ID, *PAGE_PARAMETERS],
        responses=[json(200, GenerationsPage, "The kept answers, newest first.")],
    )
    async def list_of_user(self, request: web.Request) -> web.Response:
        """Lists the answers of a user that the hub still keeps, at most the newest 1,000, without
        their texts.
        """
        self._keys.check(request, "read")
        user = check_user_id(request.match_info["user_id"], path="user_id")
        return json_response(await list_page(request, self._generations, user))

    @Operation(
        id="stopGenerationAsOperator",
        method="DELETE",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Stop a generation, whoever it belongs to",
        security=key("admin"),
        parameters=[GENERATION],
        responses=[
            json(202, StopResponse, "The generation is stopping."),
            json(200, StopResponse, "The generation had already ended."),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """Stops a generation on whichever worker it runs. Its `generation.stopped` has the text
        `hub operator` as `by`, which is no user id. The log has the name of the key
        (`audit.stopped`).
        """
        key = self._keys.check(request, "admin")
        generation = request.match_info["id"]
        result = await self._generations.stop_as_operator(generation)
        _log.info("audit.stopped", by=key, generation=generation)
        status = 202 if result.value == "stopping" else 200
        return json_response(StopResponse(generation, result.value), status=status)
