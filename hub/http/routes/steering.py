"""The route on which users send messages to answers that run."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.api.steering_requests import MAX_STEER_BODY_BYTES, SteerBody
from hub.engine.generations.generations import Generations
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, IDEMPOTENCY_KEY, OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json, json_body


class SteerResponse(msgspec.Struct, frozen=True):
    """`n` is the number of the message; those of an answer count from 0."""

    n: int


class SteeringRoutes:
    """A route of the public listener."""

    def __init__(self, generations: Generations, authenticator: Authenticator) -> None:
        self._generations = generations
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="steerGeneration",
        method="POST",
        paths=["/generations/{id}/steer"],
        tag="generations",
        summary="Send a message to a generation that runs",
        security=USER,
        parameters=[GENERATION, OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(SteerBody),
        responses=[json(202, SteerResponse, "The message is stored for the producer.")],
        refuses=[404, 409, 429],
    )
    async def steer(self, request: web.Request) -> web.Response:
        """Sends a message of the user who asked to the function or the external producer of an
        answer. The answer of an LLM endpoint takes none: 409 `not_steerable`.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        body = await read_json(request, SteerBody, max_bytes=MAX_STEER_BODY_BYTES)
        message, key = body.read_message(), body.read_key(request.headers.get("Idempotency-Key"))
        record = await self._generations.find(request.match_info["id"], identity.user)
        if record.request.topic is not None:
            identity.check_may_ask_in(record.request.topic)
        n = await self._generations.steer(record, message, identity.user, key)
        return json_response(SteerResponse(n), status=202)
