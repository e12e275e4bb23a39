"""GET /usage: the usage of generations, summed by day, user and model."""

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
    """The usage by day, user and model, the oldest day first."""

    usage: list[UsageTotals]


class UsageRoutes:
    """The usage route of the internal listener."""

    def __init__(self, usage: UsageStore, keys: ApiKeys) -> None:
        self._usage = usage
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getUsage",
        method="GET",
        paths=["/usage"],
        tag="operation",
        summary="Read the usage",
        security=key("read"),
        parameters=[
            Parameter("query", "user", UserId, "Only the usage of this user"),
            Parameter(
                "query", "day", _Date, "The last day, as YYYY-MM-DD in UTC; today by default"
            ),
            Parameter(
                "query",
                "days",
                _NumberOfDays,
                "The number of days, up to the last day; 1 by default",
            ),
        ],
        responses=[json(200, UsageResponse, "The usage, summed by day, user and model.")],
    )
    async def usage(self, request: web.Request) -> web.Response:
        """Returns the usage of one or several days, summed by day, user and model."""
        self._keys.check(request, "read")
        user = request.query.get("user")
        if user is not None:
            check_user_id(user, path="user")
        totals: list[UsageTotals] = []
        for day in _days(request):
            totals += await self._usage.read(day, user)
        return json_response(UsageResponse(totals))


def _days(request: web.Request) -> list[str]:
    text = request.query.get("day", time.strftime("%Y-%m-%d", time.gmtime()))
    if not _DAY.fullmatch(text):  # fromisoformat accepts more forms
        raise BadRequest("day must be a date, YYYY-MM-DD", path="day")
    try:
        last = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("day must be a date, YYYY-MM-DD", path="day") from None
    count = query_count(request, "days", default=1, max_count=_MAX_DAYS)
    if count > last.toordinal():
        raise BadRequest("there are fewer days before this day", path="days")
    return [(last - timedelta(n)).isoformat() for n in reversed(range(count))]
