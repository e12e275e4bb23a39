"""The route on the public listener that gives a running answer the value that it asks for."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.engine.generations.inputs import Inputs
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, INPUT, OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json, json_body


class InputBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`value` is any JSON value that the request of the input allows."""

    value: Any


class InputResponse(msgspec.Struct, frozen=True):
    """The value that counts, and the user who has given it."""

    input: str
    value: Any
    by: str


class InputRoutes:
    """The route for inputs. max_body_bytes: the limit of a value."""

    def __init__(
        self, inputs: Inputs, authenticator: Authenticator, *, max_body_bytes: int
    ) -> None:
        self._inputs = inputs
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="answerInput",
        method="POST",
        paths=["/generations/{id}/inputs/{input}"],
        tag="generations",
        summary="Give a running answer a value",
        security=USER,
        parameters=[GENERATION, INPUT, OPEN_USER],
        body=json_body(InputBody),
        responses=[json(200, InputResponse, "This value counts.")],
        refuses=[404, 409],
    )
    async def answer(self, request: web.Request) -> web.Response:
        """Gives the value for which a `generation.input_requested` has asked. The user who asked
        may give it, and the approvers that the application has named. The first value counts; the
        same one may be sent again, and another one is refused with 409.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        body = await read_json(request, InputBody, max_bytes=self._max_body_bytes)
        generation, key = request.match_info["id"], request.match_info["input"]
        answer = await self._inputs.answer(generation, key, body.value, identity.user)
        counted = answer.fields
        return json_response(InputResponse(key, counted["value"], counted["by"]))
