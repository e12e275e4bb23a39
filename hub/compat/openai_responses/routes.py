"""/v1/responses: create, read, resume and cancel a response, for OpenAI's SDKs.

A response's id is `resp_` and the generation's id. The generation continues when the client
disconnects, with and without `background`, unless the request says `on_disconnect: stop`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from hub.api.authentication import Identity
from hub.api.json_decoding import convert_json
from hub.compat.failures import failure_response
from hub.compat.openai_responses.earlier_answers import RESPONSE_PREFIX, EarlierAnswers
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.openai_responses.input_items import input_items, page_of
from hub.compat.openai_responses.requests import (
    NATIVE_KIND,
    ResponsesBody,
    RetrieveBody,
    read_responses,
)
from hub.compat.openai_responses.response_collector import ResponseCollector
from hub.compat.operations import answer_operation
from hub.compat.requests import CompatRequests, location_of
from hub.core.generation import StopResult
from hub.error_codes import RESPONSE_NOT_FOUND, UNSUPPORTED_OPERATION
from hub.errors import BadRequest, GenerationStillRunning, NotFound, TooManyRequests
from hub.http.json_body import json_response
from hub.http.parameters import (
    HEARTBEAT,
    OPEN_USER,
    query_count,
    query_flag,
    query_int,
)
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
)

MAX_PAGE_ITEMS: Final = 100
_CANCEL_TIMEOUT_SECONDS: Final = 5.0  # how long a cancel waits for the generation to end


_RESPONSE: Final = Parameter("path", "id", str, "`resp_` and the generation's id")
_STREAM: Final = Parameter("query", "stream", str, "`true`: stream the events")
_AFTER: Final = Parameter(
    "query", "starting_after", int, "The sequence_number of the last event that the client has"
)


_ORDER: Final = Parameter("query", "order", str, "`desc` (default): the newest first; or `asc`")
_AFTER_ITEM: Final = Parameter("query", "after", str, "The id of the last item that was read")
_LIMIT: Final = Parameter("query", "limit", int, "The number of items, 1 to 100 (20)")


class ResponsesRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._generations = compat.generations
        self._earlier_answers = EarlierAnswers(
            compat.generations, max_bytes=compat.requests.max_prompt_bytes
        )

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @answer_operation(
        "/v1/responses",
        "OpenAI: create a response",
        ResponsesBody,
        "A response, complete or queued, or its events",
        operation_id="createResponse",
    )
    async def create(self, request: web.Request) -> web.StreamResponse:
        """Generate a response: as events with `stream`; at once and still queued with `background`;
        otherwise complete in one object.
        """
        identity = await self._compat.identify(request)
        raw = await self._compat.read_body(request)
        raw, earlier = await self._earlier_answers.resolve(raw, identity.user)
        is_native = self._compat.has_kind(NATIVE_KIND, raw)
        body, generate = read_responses(raw, earlier, is_native=is_native)
        created = await self._compat.start(
            request, identity, generate, is_stream=not body.is_queued
        )
        stop = body.on_disconnect == "stop"
        if body.stream:
            return await self._compat.stream(
                request,
                identity,
                created.generation,
                ResponsesEncoder,
                stop_on_disconnect=stop,
                holds_status=not body.background,  # its client needs the id at once, to resume
            )
        if body.is_queued:
            document = await self._current_response(created.generation, identity)
            return json_response(document, headers=location_of(created.generation))
        collected = await self._compat.wait_for_answer(
            request, identity, created.generation, ResponseCollector, stop_on_disconnect=stop
        )
        if collected.answer.status == "failed":
            return failure_response(collected.answer)
        return json_response(collected.document(), headers=location_of(created.generation))

    @Operation(
        id="countInputTokens",
        method="POST",
        paths=["/v1/responses/input_tokens"],
        tag="v1",
        summary="OpenAI: count the tokens of an input; refused",
        security=USER,
        parameters=[OPEN_USER],
        responses=[],
        refuses=[400],
    )
    async def count_input_tokens(self, request: web.Request) -> web.Response:
        """Refuse: only an LLM knows how it splits a text. SDKs call this route only on demand."""
        await self._compat.identify(request)
        raise BadRequest(
            "the hub cannot count tokens, because each LLM does it in its own way; "
            "the usage of a finished response has their number",
            code=UNSUPPORTED_OPERATION,
        )

    @Operation(
        id="getResponse",
        method="GET",
        paths=["/v1/responses/{id}"],
        tag="v1",
        summary="OpenAI: read a response, or stream it",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE, _STREAM, _AFTER, HEARTBEAT],
        responses=[
            ResponseSpec(
                status=200,
                description="The response as it is now, or its events",
                content={"application/json": dict[str, Any], "text/event-stream": None},
            )
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Return the current response; with `stream=true`, the events after `starting_after`."""
        identity = await self._compat.identify(request)
        generation = _generation_id(request)
        is_stream, after = await self._read_resume(request)
        if not is_stream:
            return json_response(await self._current_response(generation, identity))
        if after is not None and after < 0:
            raise BadRequest(
                "starting_after must be the sequence_number of an event", path="starting_after"
            )
        first = 0 if after is None else after + 1
        return await self._compat.stream(
            request, identity, generation, ResponsesEncoder, from_chunk=first
        )

    async def _read_resume(self, request: web.Request) -> tuple[bool, int | None]:
        """Return `stream` and `starting_after`, from the URL or else from the body, where the SDK
        for Go sends them. Raise BadRequest.
        """
        is_stream, after = query_flag(request, "stream"), query_int(request, "starting_after")
        if not request.can_read_body:
            return is_stream, after
        body = convert_json(await self._compat.read_body(request), RetrieveBody)
        is_stream = is_stream if "stream" in request.query else bool(body.stream)
        return is_stream, body.starting_after if after is None else after

    @Operation(
        id="listInputItems",
        method="GET",
        paths=["/v1/responses/{id}/input_items"],
        tag="v1",
        summary="OpenAI: list the input of a response",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE, _ORDER, _AFTER_ITEM, _LIMIT],
        responses=[json(200, dict[str, Any], "A list of items")],
        refuses=[404],
    )
    async def list_input_items(self, request: web.Request) -> web.Response:
        """List what the LLM got besides the instructions: also the items of earlier answers."""
        identity = await self._compat.identify(request)
        record = await self._generations.find(_generation_id(request), identity.user)
        order = request.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest("order must be asc or desc", path="order")
        limit = query_count(request, "limit", default=20, max_count=MAX_PAGE_ITEMS)
        after = request.query.get("after")
        page = page_of(input_items(record), limit=limit, is_ascending=order == "asc", after=after)
        return json_response(page)

    @Operation(
        id="cancelResponse",
        method="POST",
        paths=["/v1/responses/{id}/cancel"],
        tag="v1",
        summary="OpenAI: cancel a response",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE],
        responses=[json(200, dict[str, Any], "The response after it ended")],
        refuses=[404],
    )
    async def cancel(self, request: web.Request) -> web.Response:
        """Stop the generation and return the response. A repeated request returns the same."""
        identity = await self._compat.identify(request)
        generation = _generation_id(request)
        await self._stop(request, identity, generation)
        return json_response(await self._current_response(generation, identity))

    @Operation(
        id="deleteResponse",
        method="DELETE",
        paths=["/v1/responses/{id}"],
        tag="v1",
        summary="OpenAI: delete a response",
        security=USER,
        parameters=[OPEN_USER, _RESPONSE],
        responses=[json(200, dict[str, Any], "The response is deleted")],
        refuses=[404, 409],
    )
    async def delete(self, request: web.Request) -> web.Response:
        """Delete a response, so that nobody can read or continue it. One that runs is stopped."""
        identity = await self._compat.identify(request)
        generation = _generation_id(request)
        await self._stop(request, identity, generation)
        await self._generations.delete(generation, identity.user)
        name = f"{RESPONSE_PREFIX}{generation}"
        return json_response({"id": name, "object": "response.deleted", "deleted": True})

    async def _stop(self, request: web.Request, identity: Identity, generation: str) -> None:
        """Stop a generation and wait for its end, unless it takes too long."""
        if await self._generations.stop(generation, identity.user) is StopResult.ENDED:
            return
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT_SECONDS):
                await self._compat.wait_for_answer(request, identity, generation, ResponseCollector)
        except (TimeoutError, TooManyRequests, GenerationStillRunning):
            pass  # the stop request is stored: the worker, or the next one, still stops it

    async def _current_response(self, generation: str, identity: Identity) -> dict[str, Any]:
        replay = await self._generations.open_replay(generation, identity.user)
        collected = ResponseCollector(replay.record)
        await self._compat.count_chunks(replay, collected)
        return collected.document()


def _generation_id(request: web.Request) -> str:
    name = request.match_info["id"]
    if not name.startswith(RESPONSE_PREFIX):
        raise NotFound(f"there is no response {name!r}", code=RESPONSE_NOT_FOUND)
    return name.removeprefix(RESPONSE_PREFIX)
