"""Answers on the public listener: list one's own, read one, and join its stream."""

from __future__ import annotations

from aiohttp import web

from hub.api.authentication import Authenticator
from hub.engine.generations.generations import Generations
from hub.http.json_body import json_response
from hub.http.parameters import CURSOR, GENERATION, LAST_EVENT_ID, OPEN_USER
from hub.http.routes.generation_pages import PAGE_PARAMETERS, GenerationsPage, list_page
from hub.http.routes.generation_snapshot import (
    GenerationResponse,
    describe_generation,
)
from hub.http.routes.generation_streams import (
    STREAM_PARAMETERS,
    STREAMED,
    GenerationStreams,
    wants_stream,
)
from hub.http.routing import USER, Operation, ResponseSpec, build_routes, json


class OwnGenerationRoutes:
    """The routes that read generations."""

    def __init__(
        self, generations: Generations, streams: GenerationStreams, authenticator: Authenticator
    ) -> None:
        self._generations = generations
        self._streams = streams
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listOwnGenerations",
        method="GET",
        paths=["/generations"],
        tag="generations",
        summary="List one's own answers",
        security=USER,
        parameters=[OPEN_USER, *PAGE_PARAMETERS],
        responses=[json(200, GenerationsPage, "The kept answers, newest first.")],
    )
    async def list_own(self, request: web.Request) -> web.Response:
        """Lists the answers of the user that the hub still keeps, at most the newest 1,000, without
        their texts.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        return json_response(await list_page(request, self._generations, identity.user))

    @Operation(
        id="getGeneration",
        method="GET",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Read a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER],
        responses=[json(200, GenerationResponse, "A snapshot of the generation.")],
        refuses=[404, 429],
        long_lived=True,
        streamed_by="joinGeneration",
    )
    async def read(self, request: web.Request) -> web.StreamResponse:
        """Returns the status, the text and all parts so far. If the request accepts
        `text/event-stream` or `application/x-ndjson`, the response is that of
        `GET /generations/{id}/stream`.
        """
        if wants_stream(request):
            return await self.join(request)
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        generation = request.match_info["id"]
        record = await self._generations.read(generation, identity.user, identity.topics)
        is_own = record.user == identity.user
        return json_response(describe_generation(record, has_request=is_own))

    @Operation(
        id="joinGeneration",
        method="GET",
        paths=["/generations/{id}/stream"],
        tag="generations",
        summary="Join a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER, CURSOR, LAST_EVENT_ID, *STREAM_PARAMETERS],
        responses=[
            STREAMED,
            ResponseSpec(status=204, description="It has ended and the client has all its events."),
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def join(self, request: web.Request) -> web.StreamResponse:
        """Streams a snapshot of the generation, then its further events until its end: as
        server-sent events, or as lines of JSON if the request accepts only `application/x-ndjson`.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        generation = request.match_info["id"]
        return await self._streams.stream(request, generation, identity, resumes=True)
