"""/generations on the public listener: start, stop and restart generations."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.core.channel import Channel, channel_for
from hub.core.cursor import format_cursor
from hub.core.event import check_idempotency_key
from hub.engine.generations.generations import Generations
from hub.error_codes import STREAM_REQUIRED
from hub.errors import BadRequest
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.http.routes.generation_streams import (
    STREAM_PARAMETERS,
    STREAMED,
    GenerationStreams,
    wants_stream,
)
from hub.http.routing import USER, Operation, build_routes, json, json_body
from hub.ports.generations import CreatedGeneration


class StartResponse(msgspec.Struct, frozen=True):
    """`cursor` is the position just before the generation's first event."""

    generation: str
    cursor: str


class StopResponse(msgspec.Struct, frozen=True):
    """`status` is `stopping`, or `already ended` if there was nothing to stop."""

    generation: str
    status: Literal["stopping", "already ended"]


_STARTED: Final = json(
    202,
    StartResponse,
    "The generation is queued. Its events follow in the user's stream.",
    headers=LOCATED,
)


STEERED: Final = json(
    200,
    StartResponse,
    "With `on_busy: steer`: the answer that runs in the chat has got the message. `generation` is "
    "its id, and `cursor` the position just before `generation.steered`.",
    headers=LOCATED,
)


class GenerationRoutes:
    """The routes that start and stop generations."""

    def __init__(
        self,
        generations: Generations,
        streams: GenerationStreams,
        authenticator: Authenticator,
        requests: GenerationRequests,
    ) -> None:
        self._generations = generations
        self._streams = streams
        self._authenticator = authenticator
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="startGeneration",
        method="POST",
        paths=["/generations"],
        tag="generations",
        summary="Start a generation",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(GenerateBody),
        responses=[_STARTED, STEERED],
        refuses=[404, 409, 429],
        long_lived=True,
        streamed_by="streamGeneration",
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        """Starts a generation. Its events follow in the user's stream. If the request accepts
        `text/event-stream` or `application/x-ndjson`, the response is that of
        `POST /generations/stream`.
        """
        return await self._start(request, streamed=wants_stream(request))

    @Operation(
        id="streamGeneration",
        method="POST",
        paths=["/generations/stream"],
        tag="generations",
        summary="Start a generation and stream it",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY, *STREAM_PARAMETERS],
        body=json_body(GenerateBody),
        responses=[STREAMED],
        refuses=[404, 409, 429],
        long_lived=True,
    )
    async def start_stream(self, request: web.Request) -> web.StreamResponse:
        """Starts a generation and streams its events until its end: as server-sent events, or as
        lines of JSON if the request accepts only `application/x-ndjson`.
        """
        return await self._start(request, streamed=True)

    async def _start(self, request: web.Request, *, streamed: bool) -> web.StreamResponse:
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        user = identity.user
        body = await read_json(request, GenerateBody, max_bytes=self._requests.max_prompt_bytes)
        stops = body.stops_on_disconnect()
        if stops and not streamed:
            raise BadRequest(
                "on_disconnect: stop requires a streamed response: send Accept: text/event-stream",
                code=STREAM_REQUIRED,
                path="on_disconnect",
            )
        key = body.id or request.headers.get("Idempotency-Key")
        if streamed:
            self._streams.check(request)
        created = await self._streams.stop_on_disconnect.start(
            self._requests.start(identity, body, key), user, stops=stops
        )
        if not streamed:
            topic = None if body.to is None else body.to.topic
            return _started(created, channel_for(user, topic))
        return await self._streams.stream(
            request, created.generation, identity, resumes=False, stop_on_disconnect=stops
        )

    @Operation(
        id="stopGeneration",
        method="DELETE",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Stop a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER],
        responses=[
            json(202, StopResponse, "The generation is stopping."),
            json(200, StopResponse, "The generation had already ended."),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """Stops a generation, on whichever worker it runs."""
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        generation = request.match_info["id"]
        result = await self._generations.stop(generation, identity.user)
        status = 202 if result.value == "stopping" else 200
        return json_response(StopResponse(generation, result.value), status=status)

    @Operation(
        id="restartGeneration",
        method="POST",
        paths=["/generations/{id}/restart"],
        tag="generations",
        summary="Restart a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER, IDEMPOTENCY_KEY],
        responses=[_STARTED],
        refuses=[404, 409, 429],
    )
    async def restart(self, request: web.Request) -> web.Response:
        """Stops the generation if it still runs, and starts another one with the same request. The
        same `Idempotency-Key` returns the same new generation.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        user = identity.user
        key = request.headers.get("Idempotency-Key")
        if key is not None:
            check_idempotency_key(key)
        record = await self._generations.find(request.match_info["id"], user)
        if record.request.topic is not None:
            identity.check_may_ask_in(record.request.topic)
        created = await self._generations.restart(record.id, user, key)
        return _started(created, record.channel)


def _started(created: CreatedGeneration, channel: Channel) -> web.Response:
    return json_response(
        StartResponse(created.generation, format_cursor({channel: created.position})),
        status=202 if created.steered is None else 200,
        headers={"Location": f"/generations/{created.generation}"},
    )
