"""/v1/ui/chat: the chat of the AI SDK, for `useChat` and WorkflowChatTransport.

`useChat` resumes a stream by the chat's id, WorkflowChatTransport by the run's id and a chunk
number. A stop has its own route, because a client that disconnects does not stop the answer. `{id}`
in the paths is the id of a chat, or of a run, which is the generation's id.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from hub.api.authentication import Identity
from hub.api.generation_requests import check_chat_id
from hub.compat.ai_sdk.encoder import HEADERS, AiSdkEncoder
from hub.compat.ai_sdk.requests import AiSdkBody, read_chat, read_decisions
from hub.compat.answer_encoder import data_event
from hub.compat.operations import answer_operation
from hub.compat.requests import CompatRequests
from hub.core.generation import partition_of_generation
from hub.errors import NotFound
from hub.http.json_body import json_response
from hub.http.parameters import HEARTBEAT, LOCATED, OPEN_USER, query_flag, query_int
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
)
from hub.transports.sse import HEADERS as STREAM_HEADERS

_EMPTY_STREAM: Final = data_event({"type": "finish"}) + AiSdkEncoder.trailer


class UiStopResponse(msgspec.Struct, frozen=True):
    """The result of a stop. status: `stopping`, `already ended`, or `nothing runs`."""

    generation: str | None
    status: str


_CHAT: Final = Parameter("path", "id", str, "The id of a chat or of a run")
_START: Final = Parameter(
    "query", "startIndex", int, "The number of the first chunk; negative numbers count from the end"
)
_RESET_STEP: Final = Parameter(
    "query", "reset_step", str, "`true`: send `reset-step` when the text changes"
)


class AiSdkRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._generations = compat.generations

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @answer_operation(
        "/v1/ui/chat",
        "AI SDK: start a run",
        AiSdkBody,
        "The UI message stream",
        operation_id="startUiChat",
        is_always_stream=True,
        parameters=[_RESET_STEP],
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        """Generate an answer and stream it. If the last message is the assistant's, the answer
        continues it; if it decides an input of an answer, the stream goes on behind that input.
        """
        identity = await self._compat.identify(request)
        body, generate = read_chat(await self._compat.read_body(request))
        given = await self._compat.decisions.give(read_decisions(body.messages), identity.user)
        if given is not None:
            message = body.messages[-1].id
            return await self._stream(
                request, identity, given.generation, behind=given.key, message=message
            )
        chat = check_chat_id(body.id) if body.id is not None else None
        created = await self._compat.start(request, identity, generate, chat=chat)
        stop = body.on_disconnect == "stop"
        return await self._stream(request, identity, created.generation, stop_on_disconnect=stop)

    @Operation(
        id="resumeUiChat",
        method="GET",
        paths=["/v1/ui/chat/{id}/stream"],
        tag="v1",
        summary="AI SDK: resume a run",
        security=USER,
        parameters=[OPEN_USER, _CHAT, _START, _RESET_STEP, HEARTBEAT],
        responses=[
            ResponseSpec(
                status=200,
                description="The UI message stream",
                content={"text/event-stream": None},
                headers=LOCATED,
            ),
            ResponseSpec(status=204, description="No generation runs in the chat"),
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Stream the answer from its beginning or from `startIndex`. 204 if no generation runs in
        the chat.

        Clients that resume by index do not know 204: they get the last answer of the chat, or an
        empty stream.
        """
        identity = await self._compat.identify(request)
        start = query_int(request, "startIndex")
        generation = await self._generation(request, identity, ended_too=start is not None)
        if generation is None:
            if start is None:
                return web.Response(status=204, headers={"Cache-Control": "no-store"})
            return web.Response(body=_EMPTY_STREAM, headers={**STREAM_HEADERS, **HEADERS})
        headers: dict[str, str] = {}
        if start is not None and start < 0:
            replay = await self._generations.open_replay(generation, identity.user)
            chunks = await self._compat.count_chunks(replay, AiSdkEncoder(replay.record))
            headers["x-workflow-stream-tail-index"] = str(chunks - 1)
            start = max(0, chunks + start)
        return await self._stream(
            request, identity, generation, from_chunk=start or 0, headers=headers
        )

    @Operation(
        id="stopUiChat",
        method="DELETE",
        paths=["/v1/ui/chat/{id}"],
        tag="v1",
        summary="AI SDK: stop a run",
        security=USER,
        parameters=[OPEN_USER, _CHAT],
        responses=[
            json(202, UiStopResponse, "Stopping"),
            json(200, UiStopResponse, "It had ended, or no generation runs in the chat"),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """Stop the generation. 202 while it is stopping, 200 if it had ended or none runs."""
        identity = await self._compat.identify(request)
        generation = await self._generation(request, identity, ended_too=False)
        if generation is None:
            return json_response(UiStopResponse(None, "nothing runs"))
        answer = await self._generations.stop(generation, identity.user)
        status = 202 if answer.value == "stopping" else 200
        return json_response(UiStopResponse(generation, answer.value), status=status)

    async def _generation(
        self, request: web.Request, identity: Identity, *, ended_too: bool
    ) -> str | None:
        """Return the generation, or the newest generation of the chat, that the path names.

        None if there is none; without `ended_too`, also if it does not run.
        """
        name = request.match_info["id"]
        if partition_of_generation(name) is not None:
            try:
                await self._generations.find(name, identity.user)
            except NotFound:
                pass  # it is the id of a chat
            else:
                return name
        return await self._generations.newest_of_chat(
            identity.user, check_chat_id(name), include_ended=ended_too
        )

    async def _stream(
        self,
        request: web.Request,
        identity: Identity,
        generation: str,
        *,
        from_chunk: int = 0,
        headers: dict[str, str] | None = None,
        stop_on_disconnect: bool = False,
        behind: str | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        new_encoder = partial(
            AiSdkEncoder,
            reset_step=query_flag(request, "reset_step"),
            behind=behind,
            message=message,
        )
        return await self._compat.stream(
            request,
            identity,
            generation,
            new_encoder,
            from_chunk=from_chunk,
            headers={**HEADERS, "x-workflow-run-id": generation, **(headers or {})},
            stop_on_disconnect=stop_on_disconnect,
        )
