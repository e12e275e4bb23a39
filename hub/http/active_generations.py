"""GET /generations: which answers wait and run, on all workers."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.api.api_keys import ApiKeys
from hub.core.generation import Generation
from hub.http.json_body import json_response
from hub.http.parameters import LIMIT, query_flag, query_limit
from hub.http.routing import Operation, Parameter, build_routes, json, key
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue


class ActiveGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. requested_at: Unix seconds. characters: how long its text is so far."""

    generation: str
    user: str
    status: str
    attempt: int
    model: str
    upstream: str
    requested_at: float
    deltas: int
    characters: int
    text: str | UnsetType = UNSET


class ActiveGenerationsResponse(msgspec.Struct, frozen=True):
    """total: also those beyond the limit."""

    generations: list[ActiveGeneration]
    total: int


class ActiveGenerationRoutes:
    """A route of the internal listener."""

    def __init__(self, queue: GenerationQueue, store: GenerationStore, keys: ApiKeys) -> None:
        self._queue = queue
        self._store = store
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/generations"],
        tag="generations",
        summary="Which answers wait and run",
        security=key("read"),
        parameters=[
            LIMIT,
            Parameter("query", "text", str, "`true`: their text, too; takes the scope `admin`"),
        ],
        responses=[json(200, ActiveGenerationsResponse, "On all workers")],
    )
    async def running(self, request: web.Request) -> web.Response:
        """`?limit=` of them, and how many there are. With `?text=true` also their text so far: it
        is the users' own, so that takes the scope `admin`.
        """
        with_text = query_flag(request, "text")
        self._keys.check(request, "admin" if with_text else "read")
        listed = await self._queue.list_jobs(query_limit(request))
        records = await asyncio.gather(*map(self._store.find, listed.generations))
        shown = [_shown(record, with_text) for record in records if record is not None]
        return json_response(ActiveGenerationsResponse(shown, listed.total))


def _shown(record: Generation, with_text: bool) -> ActiveGeneration:
    return ActiveGeneration(
        generation=record.id,
        user=record.user,
        status=record.status.value,
        attempt=record.attempt,
        model=record.request.model,
        upstream=record.request.upstream,
        requested_at=record.requested_at,
        deltas=record.deltas,
        characters=len(record.text),
        text=record.text if with_text else UNSET,
    )
