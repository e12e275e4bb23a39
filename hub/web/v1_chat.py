"""POST /v1/chat/completions and GET /v1/models, for OpenAI's SDKs and all that speak like them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.errors import BadRequest, NotFound
from hub.surfaces.openai_chat import ChatChunks, chat_completion
from hub.surfaces.openai_messages import ChatMessage, check_carried, given
from hub.web.bodies import converted, json_response
from hub.web.foreign import Foreigners, failed_answer
from hub.web.operation import USER, Answer, Operation, Parameter, json, json_body, routes_of
from hub.web.parameters import IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.web.questions import GenerateBody


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


_KNOWN: Final = frozenset(ChatBody.__struct_fields__)


class ChatRoutes:
    """Routes of the public listener."""

    def __init__(self, foreigners: Foreigners) -> None:
        self._foreigners = foreigners

    def routes(self) -> list[web.RouteDef]:
        return routes_of(self)

    @Operation(
        method="POST",
        paths=["/v1/chat/completions"],
        tag="v1",
        summary="OpenAI: a chat completion",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(ChatBody),
        answers=[
            Answer(
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
        identity = await self._foreigners.identify(request)
        raw = await self._foreigners.read(request)
        body = converted(raw, ChatBody)
        if body.n not in (None, 1):
            raise BadRequest("one answer at a time: n is 1", path="n")
        check_carried(raw, "logprobs", "audio")
        asked = GenerateBody(
            messages=[message.message() for message in body.messages],
            model=body.model,
            upstream=body.upstream,
            params=given(raw, _KNOWN),
            metadata=body.metadata or {},
            on_disconnect=body.on_disconnect,
        )
        created = await self._foreigners.ask(request, identity, asked)
        stop = body.on_disconnect == "stop"
        if body.stream:
            options = body.stream_options or StreamOptions()
            surface_of = partial(ChatChunks, include_usage=bool(options.include_usage))
            return await self._foreigners.stream(
                request, identity, created.generation, surface_of, stop_when_left=stop
            )
        found = await self._foreigners.whole(
            request, identity, created.generation, stop_when_left=stop
        )
        if found.answer.status != "done":
            return failed_answer(found.answer)
        location = {"Location": f"/generations/{created.generation}"}
        return json_response(chat_completion(found.record, found.answer), headers=location)

    @Operation(
        method="GET",
        paths=["/v1/models"],
        tag="v1",
        summary="OpenAI: the models",
        security=USER,
        parameters=[OPEN_USER],
        answers=[json(200, dict[str, Any], "As OpenAI lists them")],
    )
    async def models(self, request: web.Request) -> web.Response:
        """Those that the upstreams name."""
        await self._foreigners.identify(request)
        models = self._foreigners.questions.models()
        data = [_model(name, upstream) for name, upstream in models.items()]
        return json_response({"object": "list", "data": data})

    @Operation(
        method="GET",
        paths=["/v1/models/{name:.+}"],
        tag="v1",
        summary="OpenAI: one model",
        security=USER,
        parameters=[OPEN_USER, Parameter("path", "name", str, "The model")],
        answers=[json(200, dict[str, Any], "As OpenAI has it")],
        refuses=[404],
    )
    async def model(self, request: web.Request) -> web.Response:
        """One of them."""
        await self._foreigners.identify(request)
        name = request.match_info["name"]
        upstream = self._foreigners.questions.models().get(name)
        if upstream is None:
            raise NotFound(f"there is no model {name!r}", path="model")
        return json_response(_model(name, upstream))


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": upstream}
