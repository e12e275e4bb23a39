"""OpenAI's Responses: start, look, resume, stop, with its stock SDKs and over any upstream.

An answer's id is `resp_` and its generation's. It goes on when the caller leaves, `background` or
not, unless `on_disconnect` says otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.api.authentication import Identity
from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.answer_state import AnswerCollector
from hub.compat.openai import reject_fields, unknown_fields
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.openai_responses.input import to_messages, to_params
from hub.compat.openai_responses.response_object import response_object
from hub.compat.requests import CompatRequests, failure_response
from hub.errors import BadRequest, GenerationStillRunning, NotFound, TooManyRequests
from hub.http.json_body import json_response
from hub.http.parameters import IDEMPOTENCY_KEY, OPEN_USER, query_flag, query_int
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)

_PREFIX: Final = "resp_"
_CANCEL_TIMEOUT_SECONDS: Final = 5.0  # how long a cancel waits for the worker's word


class TextOptions(msgspec.Struct, frozen=True):
    """`text`."""

    format: dict[str, Any] | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    """`reasoning`."""

    effort: str | None = None


class ResponsesBody(msgspec.Struct, frozen=True):
    """What is read here of the body; the rest are the upstream's parameters."""

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    store: bool | None = None
    include: list[str] | None = None
    stream_options: dict[str, Any] | None = None
    truncation: str | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"


_KNOWN_FIELDS: Final = frozenset(ResponsesBody.__struct_fields__)
_ECHOED_FIELDS: Final = ("background", "instructions", "metadata", "tools", "tool_choice", "text")


_RESPONSE: Final = Parameter("path", "id", str, "`resp_` and the generation's id")
_STREAMED: Final = Parameter("query", "stream", str, "`true`: its events")
_AFTER: Final = Parameter("query", "starting_after", int, "The last event's sequence_number")


class ResponsesRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._generations = compat.generations

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/v1/responses"],
        tag="v1",
        summary="OpenAI: a response",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(ResponsesBody),
        responses=[
            ResponseSpec(
                status=200,
                description="As OpenAI answers, whole, queued, or in events",
                content={"application/json": dict[str, Any], "text/event-stream": None},
            )
        ],
        refuses=[404, 429, 502, 504],
        long_lived=True,
    )
    async def create(self, request: web.Request) -> web.StreamResponse:
        """The answer: in events with `stream`, at once and queued with `background`, else whole."""
        identity = await self._compat.identify(request)
        raw = await self._compat.read_body(request)
        body = convert_json(raw, ResponsesBody)
        reject_fields(raw, "previous_response_id", "conversation", "prompt")
        echoed = {name: raw[name] for name in _ECHOED_FIELDS if raw.get(name)}
        asked = GenerateBody(
            messages=to_messages(body.input, body.instructions),
            model=body.model,
            upstream=body.upstream,
            params=to_params(
                unknown_fields(raw, _KNOWN_FIELDS),
                tools=body.tools,
                tool_choice=body.tool_choice,
                effort=body.reasoning.effort if body.reasoning else None,
                text_format=body.text.format if body.text else None,
            ),
            metadata=echoed,
            on_disconnect=body.on_disconnect,
        )
        queued = body.background and not body.stream
        if queued and asked.stops_on_disconnect():
            raise BadRequest(
                "on_disconnect: stop needs a caller that waits: leave background out",
                path="on_disconnect",
            )
        created = await self._compat.start(request, identity, asked, is_stream=not queued)
        stop = body.on_disconnect == "stop"
        if body.stream:
            return await self._compat.stream(
                request, identity, created.generation, ResponsesEncoder, stop_on_disconnect=stop
            )
        if queued:
            return json_response(await self._current_response(created.generation, identity))
        found = await self._compat.wait_for_answer(
            request, identity, created.generation, stop_on_disconnect=stop
        )
        if found.answer.status == "failed":
            return failure_response(found.answer)
        return json_response(response_object(found.record, found.answer))

    @Operation(
        method="GET",
        paths=["/v1/responses/{id}"],
        tag="v1",
        summary="OpenAI: look at a response, or join it",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE, _STREAMED, _AFTER],
        responses=[
            ResponseSpec(
                status=200,
                description="As it is now, or its events",
                content={"application/json": dict[str, Any], "text/event-stream": None},
            )
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """The response as it is now; with `stream=true` its events after `starting_after`."""
        identity = await self._compat.identify(request)
        generation = _generation_id(request)
        if not query_flag(request, "stream"):
            return json_response(await self._current_response(generation, identity))
        after = query_int(request, "starting_after")
        if after is not None and after < 0:
            raise BadRequest("starting_after is an event's sequence_number", path="starting_after")
        first = 0 if after is None else after + 1
        return await self._compat.stream(
            request, identity, generation, ResponsesEncoder, from_chunk=first
        )

    @Operation(
        method="POST",
        paths=["/v1/responses/{id}/cancel"],
        tag="v1",
        summary="OpenAI: stop a response",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE],
        responses=[json(200, dict[str, Any], "As it ended")],
        refuses=[404],
    )
    async def cancel(self, request: web.Request) -> web.Response:
        """The response as it ended; a second time the same."""
        identity = await self._compat.identify(request)
        generation = _generation_id(request)
        await self._generations.stop(generation, identity.user)
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT_SECONDS):
                await self._compat.wait_for_answer(request, identity, generation)
        except (TimeoutError, TooManyRequests, GenerationStillRunning):
            pass  # it stops all the same, when its worker hears of it or another takes it
        return json_response(await self._current_response(generation, identity))

    async def _current_response(self, generation: str, identity: Identity) -> dict[str, Any]:
        followed = await self._generations.open_replay(generation, identity.user)
        found = AnswerCollector(followed.record)
        await self._compat.count_chunks(followed, found)
        return response_object(found.record, found.answer)


def _generation_id(request: web.Request) -> str:
    name = request.match_info["id"]
    if not name.startswith(_PREFIX):
        raise NotFound(f"there is no response {name!r}")
    return name.removeprefix(_PREFIX)
