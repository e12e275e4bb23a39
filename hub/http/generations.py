"""/generations on the public listener: start, read, join, stop and restart generations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator, Identity
from hub.api.generation_requests import GenerateBody, GenerationRequests
from hub.api.heartbeats import Heartbeats
from hub.api.stop_on_disconnect import StopOnDisconnect
from hub.api.streams import StreamRequest, requested_cursor
from hub.core.channel import user_channel
from hub.core.cursor import Cursor, format_cursor
from hub.core.event import check_idempotency_key
from hub.core.system_events import CONTROL_EVENTS, GENERATION_EVENTS
from hub.engine.compat_stream import CompatStream
from hub.engine.generation_stream import GenerationStream
from hub.engine.generations import Generations
from hub.error_codes import STREAM_REQUIRED
from hub.errors import BadRequest
from hub.http.generation_snapshot import GenerationResponse, describe_generation
from hub.http.json_body import json_response, read_json
from hub.http.parameters import (
    CURSOR,
    GENERATION,
    HEARTBEAT,
    HEARTBEAT_EVENT,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    LOCATED,
    OPEN_USER,
    OUTPUT_TEMPLATE,
)
from hub.http.routing import USER, EventSet, Operation, ResponseSpec, build_routes, json_body
from hub.http.streams import HttpStreams, accepts
from hub.ports.compat import EncoderFactory
from hub.ports.generations import CreatedGeneration

SelectEncoder = Callable[[web.Request], EncoderFactory | None]
"""Return the encoder that a request asks for, None for the hub's own events. Raise BadRequest."""


class StartResponse(msgspec.Struct, frozen=True):
    """`cursor` is the position just before the generation's first event."""

    generation: str
    cursor: str


class StopResponse(msgspec.Struct, frozen=True):
    """`status` is `stopping`, or `already ended` if there was nothing to stop."""

    generation: str
    status: Literal["stopping", "already ended"]


_STARTED: Final = ResponseSpec(
    status=202,
    description="The generation is queued. Its events follow in the user's stream.",
    content={"application/json": StartResponse},
    headers=LOCATED,
)
_CONTROL: Final = ("hub.reset", "hub.expiring", "hub.heartbeat", "hub.bye")
_STREAMED: Final = ResponseSpec(
    status=200,
    description="The events of the generation until its end. The schema is that of the hub's own "
    "events; `shape` selects another format.",
    events=EventSet(
        name="Generation",
        data={**GENERATION_EVENTS, **{name: CONTROL_EVENTS[name] for name in _CONTROL}},
    ),
    headers=LOCATED,
)
_STREAM_PARAMETERS: Final = (OUTPUT_TEMPLATE, HEARTBEAT, HEARTBEAT_EVENT)


class GenerationRoutes:
    """The generation routes of the public listener."""

    def __init__(
        self,
        generations: Generations,
        http_streams: HttpStreams,
        authenticator: Authenticator,
        requests: GenerationRequests,
        select_encoder: SelectEncoder,
    ) -> None:
        self._select_encoder = select_encoder
        self._generations = generations
        self._http_streams = http_streams
        self._authenticator = authenticator
        self._requests = requests
        self._stop_on_disconnect = StopOnDisconnect(generations)

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
        responses=[_STARTED],
        refuses=[404, 409, 429],
        long_lived=True,
        streamed_by="streamGeneration",
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        """Starts a generation. Its events follow in the user's stream. If the request accepts
        `text/event-stream` or `application/x-ndjson`, the response is that of
        `POST /generations/stream`.
        """
        return await self._start(request, streamed=_wants_stream(request))

    @Operation(
        id="streamGeneration",
        method="POST",
        paths=["/generations/stream"],
        tag="generations",
        summary="Start a generation and stream it",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY, *_STREAM_PARAMETERS],
        body=json_body(GenerateBody),
        responses=[_STREAMED],
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
        self._stream_format(request)  # what is wrong there must not start a generation
        if streamed:
            self._http_streams.streams.check_address(request)
        created = await self._stop_on_disconnect.start(
            self._requests.start(user, body, key), user, stops=stops
        )
        if not streamed:
            return _started(created, user)
        return await self._join(request, created.generation, identity, {}, stop_on_disconnect=stops)

    @Operation(
        id="getGeneration",
        method="GET",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Read a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER],
        responses=[
            ResponseSpec(
                status=200,
                description="A snapshot of the generation.",
                content={"application/json": GenerationResponse},
            )
        ],
        refuses=[404, 429],
        long_lived=True,
        streamed_by="joinGeneration",
    )
    async def read(self, request: web.Request) -> web.StreamResponse:
        """Returns the status, the text and all parts so far. If the request accepts
        `text/event-stream` or `application/x-ndjson`, the response is that of
        `GET /generations/{id}/stream`.
        """
        if _wants_stream(request):
            return await self.join(request)
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        record = await self._generations.find(_id(request), identity.user)
        return json_response(describe_generation(record))

    @Operation(
        id="joinGeneration",
        method="GET",
        paths=["/generations/{id}/stream"],
        tag="generations",
        summary="Join a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER, CURSOR, LAST_EVENT_ID, *_STREAM_PARAMETERS],
        responses=[
            _STREAMED,
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
        channels = [user_channel(identity.user)]
        cursor = requested_cursor(request, channels, request.query.get("cursor"))
        return await self._join(request, _id(request), identity, cursor)

    @Operation(
        id="stopGeneration",
        method="DELETE",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Stop a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER],
        responses=[
            ResponseSpec(
                status=202,
                description="The generation is stopping.",
                content={"application/json": StopResponse},
            ),
            ResponseSpec(
                status=200,
                description="The generation had already ended.",
                content={"application/json": StopResponse},
            ),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """Stops a generation, on whichever worker it runs."""
        identity = await self._authenticator.identify(request)
        identity.check_may_ask()
        generation = _id(request)
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
        return _started(await self._generations.restart(_id(request), user, key), user)

    async def _join(
        self,
        request: web.Request,
        generation: str,
        identity: Identity,
        cursor: Cursor,
        *,
        stop_on_disconnect: bool = False,
    ) -> web.StreamResponse:
        headers = {"Location": f"/generations/{generation}"}
        with self._stop_on_disconnect.guard(
            generation, identity.user, stops=stop_on_disconnect
        ) as guard:
            channels = [user_channel(identity.user)]
            new_encoder, heartbeats = self._stream_format(request)
            if new_encoder is not None:
                replay = await self._generations.open_replay(generation, identity.user)
                stream = StreamRequest(
                    identity=identity,
                    channels=channels,
                    cursor=replay.cursor,
                    view=CompatStream(replay, new_encoder(replay.record)),
                    guard=guard,
                    heartbeats=heartbeats,
                )
                return await self._http_streams.stream(request, stream, headers, always_sse=True)
            start = await self._generations.join(generation, identity.user, cursor)
            if start.has_all:
                return web.Response(status=204)  # EventSource does not reconnect after a 204
            stream = StreamRequest(
                identity=identity,
                channels=channels,
                cursor=start.cursor,
                view=GenerationStream(start.record, snapshot=start.snapshot),
                guard=guard,
                heartbeats=heartbeats,
            )
            return await self._http_streams.stream(request, stream, headers)

    def _stream_format(self, request: web.Request) -> tuple[EncoderFactory | None, Heartbeats]:
        """Return the encoder of a stream, None for the hub's own events, and its heartbeats.

        Raise BadRequest.
        """
        new_encoder = self._select_encoder(request)
        return new_encoder, self._http_streams.streams.requested_heartbeats(
            request, can_be_events=new_encoder is None
        )


def _wants_stream(request: web.Request) -> bool:
    return (
        "shape" in request.query
        or accepts(request, "text/event-stream")
        or accepts(request, "application/x-ndjson")
    )


def _id(request: web.Request) -> str:
    return request.match_info["id"]


def _started(created: CreatedGeneration, user: str) -> web.Response:
    return json_response(
        StartResponse(created.generation, format_cursor({user_channel(user): created.position})),
        status=202,
        headers={"Location": f"/generations/{created.generation}"},
    )
