"""GET /generations on the public listener: the answers of one user that the hub still keeps."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from hub.api.authentication import Authenticator
from hub.core.generation import Status
from hub.core.system_events import Seconds
from hub.engine.generations import Generations
from hub.errors import BadRequest
from hub.http.generation_snapshot import end_fields
from hub.http.json_body import json_response
from hub.http.parameters import OPEN_USER, query_count
from hub.http.routing import USER, Operation, Parameter, build_routes, json
from hub.ports.generations import GenerationFilter, GenerationSummary


class ListedGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """One of a user's generations. `requested_at` is in Unix seconds. The fields after `metadata`
    are those of `GET /generations/{id}`.
    """

    generation: str
    status: Literal["queued", "running", "stopping", "done", "stopped", "failed"]
    attempt: int
    deltas: int
    requested_at: float
    model: str
    upstream: str
    metadata: dict[str, Any]
    chat: str | UnsetType = UNSET
    finish_reason: str | UnsetType | None = UNSET
    by: str | UnsetType | None = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    retryable: bool | UnsetType = UNSET
    upstream_status: int | UnsetType = UNSET
    upstream_code: str | UnsetType = UNSET
    upstream_param: str | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    seconds: Seconds | UnsetType = UNSET


class ListedGenerationsResponse(msgspec.Struct, frozen=True):
    """`next` is the value of `before` for the next page, null on the last one."""

    generations: list[ListedGeneration]
    next: str | None


_CHAT: Final = Parameter("query", "chat", str, "Only the answers of this chat")
_STATUS: Final = Parameter(
    "query",
    "status",
    Literal["queued", "running", "stopping", "done", "stopped", "failed"],
    "Only the answers with this status",
)
_BEFORE: Final = Parameter("query", "before", str, "Only answers older than this one: `next`")
_DEFAULT_PAGE: Final = 20
_MAX_PAGE: Final = 100
_PAGE: Final = Parameter(
    "query",
    "limit",
    Annotated[int, msgspec.Meta(ge=1, le=_MAX_PAGE)],
    f"The maximum number of answers; {_DEFAULT_PAGE} by default",
)


class OwnGenerationRoutes:
    """The route of the public listener."""

    def __init__(self, generations: Generations, authenticator: Authenticator) -> None:
        self._generations = generations
        self._authenticator = authenticator

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="listOwnGenerations",
        method="GET",
        paths=["/generations"],
        tag="generations",
        summary="List one's own answers",
        security=USER,
        parameters=[OPEN_USER, _CHAT, _STATUS, _BEFORE, _PAGE],
        responses=[json(200, ListedGenerationsResponse, "The kept answers, newest first.")],
    )
    async def list_own(self, request: web.Request) -> web.Response:
        """Lists the answers of the user that the hub still keeps, at most the newest 1,000, without
        their texts.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        limit = query_count(request, "limit", default=_DEFAULT_PAGE, max_count=_MAX_PAGE)
        which = GenerationFilter(
            limit=limit + 1,
            chat=request.query.get("chat"),
            status=_status(request.query.get("status")),
            before=request.query.get("before"),
        )
        summaries = await self._generations.list_of_user(identity.user, which)
        listed = [_listed(each) for each in summaries[:limit]]
        following = summaries[limit - 1].id if len(summaries) > limit else None
        return json_response({"generations": listed, "next": following})


def _status(text: str | None) -> Status | None:
    try:
        return None if text is None else Status(text)
    except ValueError:
        known = ", ".join(each.value for each in Status)
        raise BadRequest(f"status must be one of {known}", path="status") from None


def _listed(generation: GenerationSummary) -> dict[str, Any]:
    return {
        "generation": generation.id,
        "status": generation.status.value,
        "attempt": generation.attempt,
        "deltas": generation.deltas,
        "requested_at": generation.requested_at,
        "model": generation.model,
        "upstream": generation.upstream,
        "metadata": generation.metadata,
        **({} if generation.chat is None else {"chat": generation.chat}),
        **end_fields(generation.end),
    }
