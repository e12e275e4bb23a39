"""Pages of the answers of one user, as both listeners list them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from aiohttp import web

from hub.core.generation import Status
from hub.engine.generations.generations import Generations
from hub.errors import BadRequest
from hub.http.parameters import query_count
from hub.http.routes.generation_snapshot import ListedGeneration, StatusName, describe_summary
from hub.http.routing import Parameter
from hub.ports.generations import GenerationFilter


class GenerationsPage(msgspec.Struct, frozen=True):
    """`next` is the value of `before` for the next page, null on the last one."""

    generations: list[ListedGeneration]
    next: str | None


_CHAT: Final = Parameter("query", "chat", str, "Only the answers of this chat")
_STATUS: Final = Parameter("query", "status", StatusName, "Only the answers with this status")
_BEFORE: Final = Parameter("query", "before", str, "Only answers older than this one: `next`")
_DEFAULT_PAGE: Final = 20
_MAX_PAGE: Final = 100
_PAGE: Final = Parameter(
    "query",
    "limit",
    Annotated[int, msgspec.Meta(ge=1, le=_MAX_PAGE)],
    f"The maximum number of answers; {_DEFAULT_PAGE} by default",
)
PAGE_PARAMETERS: Final = (_CHAT, _STATUS, _BEFORE, _PAGE)


async def list_page(request: web.Request, generations: Generations, user: str) -> dict[str, object]:
    """Return the fields of GenerationsPage for the query of a request. Raise BadRequest."""
    limit = query_count(request, "limit", default=_DEFAULT_PAGE, max_count=_MAX_PAGE)
    which = GenerationFilter(
        limit=limit + 1,
        chat=request.query.get("chat"),
        status=_status(request.query.get("status")),
        before=request.query.get("before"),
    )
    summaries = await generations.list_of_user(user, which)
    listed = [describe_summary(each) for each in summaries[:limit]]
    following = summaries[limit - 1].id if len(summaries) > limit else None
    return {"generations": listed, "next": following}


def _status(text: str | None) -> Status | None:
    try:
        return None if text is None else Status(text)
    except ValueError:
        known = ", ".join(each.value for each in Status)
        raise BadRequest(f"status must be one of {known}", path="status") from None
