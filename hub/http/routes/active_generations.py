"""Generations on the internal listener: those that have not ended, and one of them whole."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.api.api_keys import ApiKeys
from hub.core.generation import Generation, Moment, Status
from hub.engine.generations.generations import generation_not_found
from hub.http.json_body import json_response
from hub.http.parameters import GENERATION, LIMIT, query_count, query_flag, query_limit
from hub.http.routes.generation_snapshot import GenerationResponse, describe_generation
from hub.http.routing import Operation, Parameter, build_routes, json, key
from hub.ports.generations import GenerationStore
from hub.ports.queue import GenerationQueue


class ActiveGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """A queued, running or suspended generation. `requested_at` is in Unix seconds. `characters` is
    the length of its text so far. `text` is present only if it was requested.
    """

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


class PinnedRuns(msgspec.Struct, frozen=True):
    """Runs of functions that only workers of one version continue. `version` is empty for workers
    without one. `jobs` counts them, also those that run. `workers` is the number of such workers,
    null if Redis does not tell.
    """

    queue: str
    version: str
    jobs: int
    workers: int | None


class ActiveGenerationsResponse(msgspec.Struct, frozen=True):
    """`total` counts all queued and running generations, also those beyond the limit, and the
    suspended ones that are listed. `pinned` has the runs of functions that a worker of the same
    version must continue.
    """

    generations: list[ActiveGeneration]
    total: int
    pinned: list[PinnedRuns]


class WholeGenerationResponse(GenerationResponse, frozen=True, kw_only=True):
    """A snapshot of a generation with all of its parts. `messages` are those of the request, as
    OpenAI's chat completions have them. `requested_at` and the times of `moments` are in Unix
    seconds, by the clock of Redis: when an attempt began, when it had its first delta, and the end.
    """

    moments: list[Moment]
    messages: list[dict[str, Any]]  # type: ignore[assignment]  # the same JSON, without its schema


_MAX_SKIP: Final = 100_000
_Skip = Annotated[int, msgspec.Meta(ge=0, le=_MAX_SKIP)]


class ActiveGenerationRoutes:
    """The routes of the internal listener."""

    def __init__(self, queue: GenerationQueue, store: GenerationStore, keys: ApiKeys) -> None:
        self._queue = queue
        self._store = store
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listGenerations",
        method="GET",
        paths=["/generations"],
        tag="generations",
        summary="List the active generations",
        security=key("read"),
        parameters=[
            LIMIT,
            Parameter("query", "skip", _Skip, "How many of them to leave out; 0 by default"),
            Parameter(
                "query", "text", str, "`true` to include the texts; requires the scope `admin`"
            ),
        ],
        responses=[json(200, ActiveGenerationsResponse, "The generations of all workers.")],
    )
    async def list_active(self, request: web.Request) -> web.Response:
        """Lists the generations that are queued, running or suspended, on all workers and by all
        external producers. The texts belong to the users, so they require the scope `admin`.
        """
        include_text = query_flag(request, "text")
        self._keys.check(request, "admin" if include_text else "read")
        limit, skip = (
            query_limit(request),
            query_count(request, "skip", min_count=0, max_count=_MAX_SKIP, default=0),
        )
        jobs = await self._queue.list_jobs(limit + skip)
        leased = [
            each
            for each in await self._store.list_leased_or_suspended(limit)
            if each not in jobs.generations
        ]
        records = await asyncio.gather(*map(self._store.find, jobs.generations[skip:]))
        without_job = [
            record
            for record in await asyncio.gather(*map(self._store.find, leased))
            if record is not None and (record.request.producer or record.status is Status.SUSPENDED)
        ]
        existing = [*without_job, *(record for record in records if record is not None)]
        existing.sort(key=lambda record: record.status is Status.SUSPENDED)  # they may be many
        generations = [
            _active_generation(record, include_text=include_text) for record in existing[:limit]
        ]
        pinned = [PinnedRuns(*each) for each in await self._queue.waiting_versions()]
        return json_response(
            ActiveGenerationsResponse(generations, jobs.total + len(without_job), pinned)
        )

    @Operation(
        id="readGeneration",
        method="GET",
        paths=["/generations/{id}"],
        tag="generations",
        summary="Read a generation",
        security=key("read"),
        parameters=[GENERATION],
        responses=[json(200, WholeGenerationResponse, "The generation, whoever it belongs to.")],
        refuses=[404],
    )
    async def read(self, request: web.Request) -> web.Response:
        """Returns the status, the text and all parts so far, also those with `visible: false`,
        which only producers and this route see.
        """
        self._keys.check(request, "read")
        record = await self._store.find(request.match_info["id"])
        if record is None:
            raise generation_not_found()
        described = describe_generation(record, has_hidden_parts=True)
        return json_response({**described, "moments": record.moments})


def _active_generation(record: Generation, *, include_text: bool) -> ActiveGeneration:
    text = record.text
    return ActiveGeneration(
        generation=record.id,
        user=record.user,
        status=record.status.value,
        attempt=record.attempt,
        model=record.request.model,
        upstream=record.request.upstream,
        requested_at=record.requested_at,
        deltas=record.deltas,
        characters=len(text),
        text=text if include_text else UNSET,
    )
