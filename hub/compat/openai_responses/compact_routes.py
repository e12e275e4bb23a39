"""POST /v1/responses/compact: shorten a conversation, for OpenAI's SDKs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from hub.api.json_decoding import convert_json
from hub.api.null_members import drop_nulls
from hub.compat.answer_state import AnswerCollector
from hub.compat.failures import failure_response
from hub.compat.openai_responses.compaction import (
    CompactBody,
    build_summary_request,
    compaction_document,
)
from hub.compat.openai_responses.earlier_answers import EarlierAnswers
from hub.compat.openai_responses.input import check_outputs, to_messages
from hub.compat.requests import CompatRequests, location_of
from hub.http.json_body import json_response
from hub.http.parameters import IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json, json_body


class CompactRoutes:
    """A route of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._earlier_answers = EarlierAnswers(
            compat.generations, max_bytes=compat.requests.max_prompt_bytes
        )

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="compactResponse",
        method="POST",
        paths=["/v1/responses/compact"],
        tag="v1",
        summary="OpenAI: compact a conversation",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(CompactBody),
        responses=[
            json(200, dict[str, Any], "The messages of the user and a compaction", headers=LOCATED)
        ],
        refuses=[404, 409, 429, 502, 504],
        long_lived=True,
    )
    async def compact(self, request: web.Request) -> web.Response:
        """Let the LLM summarise the conversation; the output is the beginning of the next input."""
        identity = await self._compat.identify(request)
        raw = drop_nulls(await self._compat.read_body(request), CompactBody)
        resolved, earlier = await self._earlier_answers.resolve({"input": [], **raw}, identity.user)
        body = convert_json(resolved, CompactBody)
        messages = [*earlier, *to_messages(body.input)]
        check_outputs(messages)
        generate = build_summary_request(body, messages)
        created = await self._compat.start(request, identity, generate)
        collected = await self._compat.wait_for_answer(
            request, identity, created.generation, AnswerCollector, stop_on_disconnect=True
        )
        if collected.answer.status != "done":
            return failure_response(collected.answer)
        document = compaction_document(collected.record, collected.answer, messages)
        return json_response(document, headers=location_of(created.generation))
