"""The AI SDK's chat: its UI message stream, resumed by chat (`useChat`) or by chunk
(WorkflowChatTransport), and stopped by a route of its own, so that leaving is not stopping.

`{id}` is a chat's id or a run's, which is the generation's id.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.api.authentication import Identity
from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.ai_sdk.encoder import HEADERS, AiSdkEncoder
from hub.compat.ai_sdk.requests import UiMessage, to_messages
from hub.compat.answer_encoder import data_line
from hub.compat.requests import CompatRequests
from hub.core.generation import partition_of_generation
from hub.errors import BadRequest, NotFound
from hub.http.json_body import json_response
from hub.http.parameters import IDEMPOTENCY_KEY, LOCATED, OPEN_USER, query_flag, query_int
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)
from hub.transports.sse import HEADERS as STREAM_HEADERS

MAX_CHAT_CHARS: Final = 128
_EMPTY_STREAM: Final = data_line({"type": "finish"}) + AiSdkEncoder.trailer


class AiSdkBody(msgspec.Struct, frozen=True):
    """What is read of the body; applications add to it with `body` of sendMessage or transport."""

    messages: list[UiMessage]
    id: str | None = None
    model: str | None = None
    upstream: str | None = None
    system: str | None = None
    params: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    on_disconnect: str = "continue"


class UiStopResponse(msgspec.Struct, frozen=True):
    """status: `stopping`, `already ended`, or `nothing runs`."""

    generation: str | None
    status: str


_CHAT: Final = Parameter("path", "id", str, "A chat's id, or a run's")
_START: Final = Parameter("query", "startIndex", int, "The first chunk; from the end when negative")
_RESET_STEP: Final = Parameter("query", "reset_step", str, "`true`: a rewritten text is a new step")


class AiSdkRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._generations = compat.generations

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/v1/ui/chat"],
        tag="v1",
        summary="AI SDK: ask",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY, _RESET_STEP],
        body=json_body(AiSdkBody),
        responses=[
            ResponseSpec(
                status=200,
                description="The UI message stream",
                content={"text/event-stream": None},
                headers=LOCATED,
            )
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def start(self, request: web.Request) -> web.StreamResponse:
        """The answer's stream. A last message of the assistant is gone on with."""
        identity = await self._compat.identify(request)
        body = convert_json(await self._compat.read_body(request), AiSdkBody)
        if not body.messages:
            raise BadRequest("messages is empty", path="messages")
        last = body.messages[-1]
        goes_on = {"message": last.id} if last.role == "assistant" and last.id else {}
        asked = GenerateBody(
            messages=to_messages(body.messages, body.system),
            model=body.model,
            upstream=body.upstream,
            params=body.params,
            metadata={**body.metadata, **goes_on},
            on_disconnect=body.on_disconnect,
        )
        chat = check_chat_id(body.id) if body.id is not None else None
        created = await self._compat.start(request, identity, asked, chat=chat)
        stop = body.on_disconnect == "stop"
        return await self._stream(request, identity, created.generation, stop_on_disconnect=stop)

    @Operation(
        method="GET",
        paths=["/v1/ui/chat/{id}/stream"],
        tag="v1",
        summary="AI SDK: resume",
        security=USER,
        parameters=[OPEN_USER, _CHAT, _START, _RESET_STEP],
        responses=[
            ResponseSpec(
                status=200,
                description="The UI message stream",
                content={"text/event-stream": None},
                headers=LOCATED,
            ),
            ResponseSpec(status=204, description="Nothing runs in the chat"),
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def resume(self, request: web.Request) -> web.StreamResponse:
        """The stream from its beginning or from `startIndex`; 204 when nothing runs in the chat.

        Who asks by index does not know 204: it gets the chat's last answer, or nothing but the end.
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
            followed = await self._generations.open_replay(generation, identity.user)
            chunks = await self._compat.count_chunks(followed, AiSdkEncoder(followed.record))
            headers["x-workflow-stream-tail-index"] = str(chunks - 1)
            start = max(0, chunks + start)
        return await self._stream(
            request, identity, generation, from_chunk=start or 0, headers=headers
        )

    @Operation(
        method="DELETE",
        paths=["/v1/ui/chat/{id}"],
        tag="v1",
        summary="AI SDK: stop",
        security=USER,
        parameters=[OPEN_USER, _CHAT],
        responses=[
            json(202, UiStopResponse, "Stopping"),
            json(200, UiStopResponse, "Ended before, or nothing runs"),
        ],
        refuses=[404],
    )
    async def stop(self, request: web.Request) -> web.Response:
        """202 while it is stopping, 200 when it had ended or nothing runs in the chat."""
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
        """The run of that id, or the newest of the chat; None when there is none, or none runs."""
        name = request.match_info["id"]
        if partition_of_generation(name) is not None:
            try:
                await self._generations.find(name, identity.user)
            except NotFound:
                pass  # then it is a chat's id after all
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
    ) -> web.StreamResponse:
        return await self._compat.stream(
            request,
            identity,
            generation,
            partial(AiSdkEncoder, reset_step=query_flag(request, "reset_step")),
            from_chunk=from_chunk,
            headers={**HEADERS, "x-workflow-run-id": generation, **(headers or {})},
            stop_on_disconnect=stop_on_disconnect,
        )


def check_chat_id(name: str, *, path: str = "id") -> str:
    """Returns a chat's id when it can be one. Raises BadRequest."""
    if not 1 <= len(name) <= MAX_CHAT_CHARS or not name.isprintable():
        raise BadRequest(f"a chat's id has 1 to {MAX_CHAT_CHARS} characters", path=path)
    return name
