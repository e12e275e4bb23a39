"""GET /usage: what answers used, summed by day, user and model."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta
from typing import Annotated, Final

import msgspec
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import UserId, check_user_id
from hub.errors import BadRequest
from hub.http.json_body import json_response
from hub.http.parameters import query_count
from hub.http.routing import Operation, Parameter, build_routes, json, key
from hub.ports.usage import UsageStore, UsageTotals

_MAX_DAYS: Final = 31
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


_NumberOfDays = Annotated[int, msgspec.Meta(ge=1, le=_MAX_DAYS)]
_Date = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date"})]


class UsageResponse(msgspec.Struct, frozen=True):
    """Sums, the oldest day first."""

    usage: list[UsageTotals]


class UsageRoutes:
    """A route of the internal listener."""

    def __init__(self, ledger: UsageStore, keys: ApiKeys) -> None:
        self._ledger = ledger
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="GET",
        paths=["/usage"],
        tag="operation",
        summary="What answers used",
        security=key("read"),
        parameters=[
            Parameter("query", "user", UserId, "Of this user; else of all"),
            Parameter("query", "day", _Date, "YYYY-MM-DD, UTC; else today"),
            Parameter("query", "days", _NumberOfDays, "So many days that end with it"),
        ],
        responses=[json(200, UsageResponse, "Summed by day, user and model")],
    )
    async def usage(self, request: web.Request) -> web.Response:
        """`?user=`, else all; `?day=YYYY-MM-DD` (UTC), else today; `?days=` that end with it."""
        self._keys.check(request, "read")
        user = request.query.get("user")
        if user is not None:
            check_user_id(user, path="user")
        sums: list[UsageTotals] = []
        for day in _days(request):
            sums += await self._ledger.read(day, user)
        return json_response(UsageResponse(sums))


def _days(request: web.Request) -> list[str]:
    text = request.query.get("day", time.strftime("%Y-%m-%d", time.gmtime()))
    if not _DAY.fullmatch(text):  # fromisoformat knows more forms
        raise BadRequest("day is YYYY-MM-DD", path="day")
    try:
        last = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("day is YYYY-MM-DD", path="day") from None
    number = query_count(request, "days", default=1, max_count=_MAX_DAYS)
    if number > last.toordinal():
        raise BadRequest("there are not so many days before it", path="days")
    return [(last - timedelta(n)).isoformat() for n in reversed(range(number))]
