"""/generations: start an answer, look at it, stop it, have it again."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.core.channel import user_channel
from hub.core.cursor import format_place
from hub.core.event import check_idempotency_key
from hub.core.generation import Generation, Message
from hub.core.ndjson import StreamLine
from hub.core.own_events import OF_ANSWERS, OF_CONNECTIONS, Seconds
from hub.engine.answer_stream import AnswerStream
from hub.engine.generations import Generations
from hub.engine.surface_stream import SurfaceStream
from hub.errors import BadRequest
from hub.ports import Created
from hub.surfaces.shapes import ShapedAnswer
from hub.web.auth import Door, Identity
from hub.web.bodies import json_response, read_json
from hub.web.leaving import Leavers
from hub.web.operation import USER, Answer, Operation, json_body, routes_of
from hub.web.parameters import (
    CURSOR,
    GENERATION,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    OPEN_USER,
    SHAPE,
)
from hub.web.questions import GenerateBody, Questions
from hub.web.shapes import Shapes
from hub.web.streaming import Cursor, Streams, accepts, cursor_of


class StartAnswer(msgspec.Struct, frozen=True):
    """cursor: just before the generation's first event."""

    generation: str
    cursor: str


class StopWord(msgspec.Struct, frozen=True):
    """status: `stopping`, or `already ended`."""

    generation: str
    status: Literal["stopping", "already ended"]


class GenerationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A generation as it stands. Of the end's details there are those that its end has."""

    generation: str
    user: str
    status: Literal["queued", "running", "stopping", "done", "stopped", "failed"]
    attempt: int
    text: str
    deltas: int
    model: str
    upstream: str
    messages: list[Message]
    metadata: dict[str, Any]
    finish_reason: str | UnsetType | None = UNSET
    by: str | UnsetType | None = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    retryable: bool | UnsetType = UNSET
    upstream_status: int | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    seconds: Seconds | UnsetType = UNSET


_STARTED: Final = Answer(
    status=202,
    description="Queued; its events come in the user's stream after the cursor",
    content={"application/json": StartAnswer},
    headers={"Location": "The generation's own address"},
)
_EVENTS: Final = {
    **OF_ANSWERS,
    **{name: OF_CONNECTIONS[name] for name in ("hub.reset", "hub.expiring", "hub.bye")},
}
_STREAMED: Final = {"text/event-stream": None, "application/x-ndjson": StreamLine}


class GenerationRoutes:
    """The generations' routes of the public listener."""

    def __init__(
        self,
        generations: Generations,
        streams: Streams,
        door: Door,
        questions: Questions,
        shapes: Shapes | None = None,
    ) -> None:
        self._shapes = shapes or Shapes()
        self._generations = generations
        self._streams = streams
        self._door = door
        self._questions = questions
        self._leavers = Leavers(generations)

    def routes(self) -> list[web.RouteDef]:
        return routes_of(self)

    @Operation(
        method="POST",
        paths=["/generations"],
        tag="generations",
        summary="Start a generation",
        security=USER,
        parameters=[
            OPEN_USER,
            IDEMPOTENCY_KEY,
            SHAPE,
        ],
        body=json_body(GenerateBody),
        answers=[
            _STARTED,
            Answer(
                status=200,
                description="The answer itself, where the client accepts a stream",
                content=_STREAMED,
                events=_EVENTS,
            ),
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        """202: queued; its events come in the user's stream after the cursor. A client that accepts
        a stream gets 200 and the answer itself.
        """
        identity = await self._door.identify(request)
        user = identity.user
        body = await read_json(request, GenerateBody, max_bytes=self._questions.max_prompt_bytes)
        streamed = _wants_stream(request)
        self._shapes.of(request)  # before anything is asked
        stops = body.stops()
        if stops and not streamed:
            raise BadRequest(
                "on_disconnect: stop needs a streamed answer: send Accept: text/event-stream",
                path="on_disconnect",
            )
        key = body.id or request.headers.get("Idempotency-Key")
        if streamed:
            self._streams.check_address(request)
        created = await self._leavers.ask(self._questions.ask(user, body, key), user, stops=stops)
        if not streamed:
            return _started(created)
        return await self._join(request, created.generation, identity, {}, stop_when_left=stops)

    @Operation(
        method="GET",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Look at a generation, or join it",
        security=USER,
        parameters=[GENERATION, OPEN_USER, CURSOR, LAST_EVENT_ID, SHAPE],
        answers=[
            Answer(
                status=200,
                description="The snapshot; the answer itself where the client accepts a stream",
                content={"application/json": GenerationAnswer, **_STREAMED},
                events=_EVENTS,
            ),
            Answer(status=204, description="The client has all of an answer that ended"),
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def look(self, request: web.Request) -> web.StreamResponse:
        """The snapshot: status, text so far, and the end's details. A client that accepts a stream
        joins the answer.
        """
        identity = await self._door.identify(request)
        user = identity.user
        generation = _id(request)
        if not _wants_stream(request):
            return json_response(_snapshot(await self._generations.find(generation, user)))
        cursor = cursor_of(request, [user_channel(user)])
        return await self._join(request, generation, identity, cursor)

    @Operation(
        method="DELETE",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Stop a generation",
        security=USER,
        parameters=[GENERATION, OPEN_USER],
        answers=[
            Answer(status=202, description="Stopping", content={"application/json": StopWord}),
            Answer(status=200, description="Ended before", content={"application/json": StopWord}),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """202 while it is stopping, 200 when it had ended already."""
        user = (await self._door.identify(request)).user
        generation = _id(request)
        answer = await self._generations.stop(generation, user)
        status = 202 if answer.value == "stopping" else 200
        return json_response(StopWord(generation, answer.value), status=status)

    @Operation(
        method="POST",
        paths=["/generations/{id}/restart"],
        tag="generations",
        summary="Stop it if it runs, and ask the same again",
        security=USER,
        parameters=[GENERATION, OPEN_USER, IDEMPOTENCY_KEY],
        answers=[_STARTED],
        refuses=[404, 429],
    )
    async def restart(self, request: web.Request) -> web.Response:
        """202: another generation of the same question; with the same key again, the same one."""
        user = (await self._door.identify(request)).user
        key = request.headers.get("Idempotency-Key")
        if key is not None:
            check_idempotency_key(key)
        return _started(await self._generations.restart(_id(request), user, key))

    async def _join(
        self,
        request: web.Request,
        generation: str,
        identity: Identity,
        cursor: Cursor,
        *,
        stop_when_left: bool = False,
    ) -> web.StreamResponse:
        headers = {"Location": f"/generations/{generation}"}
        with self._leavers.leaving(generation, identity.user, stops=stop_when_left) as leaving:
            shape = self._shapes.of(request)
            if shape is not None:
                followed = await self._generations.follow(generation, identity.user)
                surface = ShapedAnswer(followed.record, shape)
                make = leaving.made_by(partial(SurfaceStream, followed=followed, surface=surface))
                return await self._streams.begin_sse(
                    request, identity, followed.cursor, make, headers
                )
            joined = await self._generations.join(generation, identity.user, cursor)
            if joined.has_all:
                return web.Response(status=204)  # at which EventSource does not come again
            make = leaving.made_by(
                partial(AnswerStream, record=joined.record, snapshot=joined.snapshot)
            )
            return await self._streams.begin(request, identity, joined.cursor, make, headers)


def _wants_stream(request: web.Request) -> bool:
    return (
        "shape" in request.query
        or accepts(request, "text/event-stream")
        or accepts(request, "application/x-ndjson")
    )


def _id(request: web.Request) -> str:
    return request.match_info["id"]


def _started(created: Created) -> web.Response:
    return json_response(
        StartAnswer(created.generation, format_place(created.position)),
        status=202,
        headers={"Location": f"/generations/{created.generation}"},
    )


def _snapshot(found: Generation) -> dict[str, Any]:
    question = found.question
    return {
        "generation": found.id,
        "user": found.user,
        "status": found.status.value,
        "attempt": found.attempt,
        "text": found.text,
        "deltas": found.deltas,
        "model": question.model,
        "upstream": question.upstream,
        "messages": question.messages,
        "metadata": question.metadata,
        **{key: value for key, value in found.end.items() if key not in ("generation", "deltas")},
    }
