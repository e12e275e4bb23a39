"""The routes of the application's own producers, on the internal listener."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.api.posted_parts import parse_items
from hub.api.producer_requests import PRODUCE, ProduceBody, ProducerRequests, lease_of
from hub.api.producer_responses import (
    AttemptResponse,
    PartsResponse,
    describe_attempt,
    describe_post,
    format_start,
)
from hub.api.streamed_posts import StreamedPost, StreamedPostLimits
from hub.core.channel import channel_for
from hub.core.posted_parts import Posted
from hub.engine.external.external_producers import StartedAttempt
from hub.error_codes import UNSUPPORTED_MEDIA_TYPE
from hub.errors import UnsupportedMedia
from hub.http.json_body import json_response, read_json
from hub.http.parameters import GENERATION, IDEMPOTENCY_KEY, LEASE, LOCATED
from hub.http.routes.generations import StartResponse
from hub.http.routes.posted_lines import LineSource
from hub.http.routes.publish import NDJSON
from hub.http.routing import Operation, build_routes, json, json_body, key
from hub.ports.clock import Clock

_PARSED_AT_ONCE: Final = 500  # items, without a pause for other requests


class SteeredResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer that has got the message, and the position just before `generation.steered`."""

    generation: str
    cursor: str


class StartedAgain(SteeredResponse, frozen=True):
    """A new attempt at an answer, or the answer of the chat that has got the message."""


class ProducerRoutes:
    """The routes of the internal listener that need the scope `produce`."""

    def __init__(
        self,
        requests: ProducerRequests,
        clock: Clock,
        limits: StreamedPostLimits,
        *,
        max_body_bytes: int,
    ) -> None:
        self._requests = requests
        self._clock = clock
        self._limits = limits
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="produceGeneration",
        method="POST",
        paths=["/generations"],
        tag="producers",
        summary="Start an answer for a user",
        security=key(PRODUCE),
        parameters=[IDEMPOTENCY_KEY],
        body=json_body(ProduceBody),
        responses=[
            json(201, AttemptResponse, "Your process posts the parts.", headers=LOCATED),
            json(
                200,
                StartedAgain,
                "A new attempt with the same `id`; or, with `on_busy: steer`, the answer that runs "
                "in the chat has got the message.",
                headers=LOCATED,
            ),
            json(202, StartResponse, "An upstream answers.", headers=LOCATED),
        ],
        refuses=[409, 429],
    )
    async def start(self, request: web.Request) -> web.Response:
        """Starts an answer for a user or a topic. With `producer: external` your process posts its
        parts, and the same `id` again begins a new attempt, which voids the lease of the one
        before. Without it, an upstream answers.
        """
        self._requests.authenticate(request)
        body = await read_json(request, ProduceBody, max_bytes=self._max_body_bytes)
        idempotency_key = body.id or request.headers.get("Idempotency-Key")
        started = await self._requests.start(body, idempotency_key)
        if isinstance(started, StartedAttempt):
            return _attempt_response(started)
        cursor = format_start(channel_for(body.to.user or "", body.to.topic), started.position)
        return json_response(
            StartResponse(started.generation, cursor),
            status=202 if started.steered is None else 200,
            headers={"Location": f"/generations/{started.generation}"},
        )

    @Operation(
        id="postParts",
        method="POST",
        paths=["/generations/{id}/parts"],
        tag="producers",
        summary="Post parts of an answer",
        security=key(PRODUCE),
        parameters=[GENERATION, LEASE],
        body={"application/json": list[dict[str, Any]], NDJSON[0]: None},
        responses=[json(200, PartsResponse, "The parts up to `ack` are published.")],
        refuses=[404, 409],
        long_lived=True,
    )
    async def post(self, request: web.Request) -> web.Response:
        """Publishes parts and renews the lease. A JSON array is published as a whole or not at all;
        newline-delimited JSON is published while it arrives, and the response comes at its end. An
        empty array only renews the lease. Repeated parts are recognised by their `seq`.
        """
        self._requests.authenticate(request)
        lease, generation = lease_of(request), request.match_info["id"]
        producers = self._requests.producers
        if request.content_type in NDJSON:
            post = StreamedPost(producers, self._clock, self._limits, generation, lease)
            return await _publish_lines(post, request, self._limits.max_part_bytes)
        if request.content_type != "application/json":
            raise UnsupportedMedia(
                f"send Content-Type: application/json or {NDJSON[0]}", code=UNSUPPORTED_MEDIA_TYPE
            )
        items = await read_json(request, list[msgspec.Raw], max_bytes=self._max_body_bytes)
        posted = await _parse_all(items)
        return json_response(describe_post(await producers.post(generation, lease, posted)))


async def _publish_lines(
    post: StreamedPost, request: web.Request, max_line_bytes: int
) -> web.Response:
    source = LineSource(request.content, max_line_bytes=max_line_bytes)
    response = json_response(describe_post(await post.publish(source)))
    if not request.content.at_eof():
        response.force_close()
    return response


async def _parse_all(items: Sequence[msgspec.Raw]) -> list[Posted]:
    posted: list[Posted] = []
    for first in range(0, len(items), _PARSED_AT_ONCE):
        page = items[first : first + _PARSED_AT_ONCE]
        posted += parse_items([bytes(item) for item in page], first=first)
        await asyncio.sleep(0)
    return posted


def _attempt_response(started: StartedAttempt) -> web.Response:
    return json_response(
        describe_attempt(started),
        status=201 if started.new else 200,
        headers={"Location": f"/generations/{started.record.id}"},
    )
