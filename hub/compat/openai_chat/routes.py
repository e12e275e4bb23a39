"""POST /v1/chat/completions and GET /v1/models, for OpenAI's SDKs and all that speak like them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.openai import ChatMessage, reject_fields, unknown_fields
from hub.compat.openai_chat.encoder import ChatCompletionEncoder, chat_completion
from hub.compat.requests import CompatRequests, failure_response
from hub.errors import BadRequest, NotFound
from hub.http.json_body import json_response
from hub.http.parameters import IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options`."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct, frozen=True):
    """What is read here of the body; the rest are the upstream's parameters."""

    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    upstream: str | None = None
    on_disconnect: str = "continue"


_KNOWN_FIELDS: Final = frozenset(ChatBody.__struct_fields__)


class ChatRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/v1/chat/completions"],
        tag="v1",
        summary="OpenAI: a chat completion",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(ChatBody),
        responses=[
            ResponseSpec(
                status=200,
                description="As OpenAI answers, whole or in chunks",
                content={"application/json": dict[str, Any], "text/event-stream": None},
                headers=LOCATED,
            )
        ],
        refuses=[404, 409, 429, 502, 504],
        long_lived=True,
    )
    async def complete(self, request: web.Request) -> web.StreamResponse:
        """The answer: whole, or in chunks with `stream`."""
        identity = await self._compat.identify(request)
        raw = await self._compat.read_body(request)
        body = convert_json(raw, ChatBody)
        if body.n not in (None, 1):
            raise BadRequest("one answer at a time: n is 1", path="n")
        reject_fields(raw, "logprobs", "audio")
        asked = GenerateBody(
            messages=[message.to_message() for message in body.messages],
            model=body.model,
            upstream=body.upstream,
            params=unknown_fields(raw, _KNOWN_FIELDS),
            metadata=body.metadata or {},
            on_disconnect=body.on_disconnect,
        )
        created = await self._compat.start(request, identity, asked)
        stop = body.on_disconnect == "stop"
        if body.stream:
            options = body.stream_options or StreamOptions()
            surface_of = partial(ChatCompletionEncoder, include_usage=bool(options.include_usage))
            return await self._compat.stream(
                request, identity, created.generation, surface_of, stop_on_disconnect=stop
            )
        found = await self._compat.wait_for_answer(
            request, identity, created.generation, stop_on_disconnect=stop
        )
        if found.answer.status != "done":
            return failure_response(found.answer)
        location = {"Location": f"/generations/{created.generation}"}
        return json_response(chat_completion(found.record, found.answer), headers=location)

    @Operation(
        method="GET",
        paths=["/v1/models"],
        tag="v1",
        summary="OpenAI: the models",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(200, dict[str, Any], "As OpenAI lists them")],
    )
    async def models(self, request: web.Request) -> web.Response:
        """Those that the upstreams name."""
        await self._compat.identify(request)
        models = self._compat.requests.models()
        data = [_model(name, upstream) for name, upstream in models.items()]
        return json_response({"object": "list", "data": data})

    @Operation(
        method="GET",
        paths=["/v1/models/{name:.+}"],
        tag="v1",
        summary="OpenAI: one model",
        security=USER,
        parameters=[OPEN_USER, Parameter("path", "name", str, "The model")],
        responses=[json(200, dict[str, Any], "As OpenAI has it")],
        refuses=[404],
    )
    async def model(self, request: web.Request) -> web.Response:
        """One of them."""
        await self._compat.identify(request)
        name = request.match_info["name"]
        upstream = self._compat.requests.models().get(name)
        if upstream is None:
            raise NotFound(f"there is no model {name!r}", path="model")
        return json_response(_model(name, upstream))


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": upstream}
