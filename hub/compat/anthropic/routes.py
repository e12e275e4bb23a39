"""POST /v1/messages, for Anthropic's SDKs and the command line clients that are built on them."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from hub.compat.anthropic.encoder import PING, MessageCollector, MessageEncoder
from hub.compat.anthropic.errors import (
    MESSAGES_PATH,
    failure_response,
    request_id,
    request_id_headers,
)
from hub.compat.anthropic.requests import NATIVE_KIND, MessagesBody, read_messages
from hub.compat.operations import answer_operation
from hub.compat.requests import CompatRequests, location_of
from hub.error_codes import UNSUPPORTED_OPERATION
from hub.errors import BadRequest
from hub.http.json_body import json_response
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, build_routes

_BETA: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NO_COUNT: Final = (
    "the hub cannot count tokens, because each LLM does it in its own way; "
    "the usage of a finished message has their number"
)


class MessagesRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @answer_operation(
        MESSAGES_PATH,
        "Anthropic: create a message",
        MessagesBody,
        "A message, or its events",
        operation_id="createMessage",
    )
    async def create(self, request: web.Request) -> web.StreamResponse:
        """Generate an answer: as a stream with `stream`, otherwise complete in one object."""
        identity = await self._compat.identify(request)
        raw = await self._compat.read_body(request)
        is_native = self._compat.has_kind(NATIVE_KIND, raw)
        body, generate = read_messages(raw, _betas(request), is_native=is_native)
        created = await self._compat.start(request, identity, generate)
        stop = body.on_disconnect == "stop"
        headers = request_id_headers(request_id(created.generation))
        if body.stream:
            return await self._compat.stream(
                request,
                identity,
                created.generation,
                MessageEncoder,
                headers=headers,
                stop_on_disconnect=stop,
                holds_status=True,
                refuse=failure_response,
                heartbeat=PING,
            )
        collected = await self._compat.wait_for_answer(
            request, identity, created.generation, MessageCollector, stop_on_disconnect=stop
        )
        if collected.answer.status != "done":
            return failure_response(collected.answer)
        headers |= location_of(created.generation)
        return json_response(collected.document(), headers=headers)

    @Operation(
        id="countMessageTokens",
        method="POST",
        paths=[f"{MESSAGES_PATH}/count_tokens"],
        tag="v1",
        summary="Anthropic: count the tokens of a message; refused",
        security=USER,
        parameters=[OPEN_USER],
        responses=[],
        refuses=[400],
    )
    async def count_tokens(self, request: web.Request) -> web.Response:
        """Refuse: only an LLM knows how it splits a text. Command line clients then estimate."""
        await self._compat.identify(request)
        raise BadRequest(_NO_COUNT, code=UNSUPPORTED_OPERATION)


def _betas(request: web.Request) -> list[str]:
    """Return the features that the header `anthropic-beta` names."""
    given = ",".join(request.headers.getall("anthropic-beta", ())).split(",")
    names = [name.strip() for name in given]
    return list(dict.fromkeys(name for name in names if _BETA.fullmatch(name)))
