"""GET /usage: what answers used, summed by day, user and model."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Final

import msgspec
from aiohttp import web

from hub.core.channel import check_user_id
from hub.errors import BadRequest
from hub.ports import UsageLedger
from hub.web.bodies import json_response
from hub.web.keys import KeyRing

_MOST_DAYS: Final = 31
_DAYS: Final = {str(days) for days in range(1, _MOST_DAYS + 1)}


class UsageRoutes:
    """A route of the internal listener."""

    def __init__(self, ledger: UsageLedger, keys: KeyRing) -> None:
        self._ledger = ledger
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/usage", self.usage)]

    async def usage(self, request: web.Request) -> web.Response:
        """`?user=`, else all; `?day=YYYY-MM-DD` (UTC), else today; `?days=` that end with it."""
        self._keys.check(request, "read")
        user = request.query.get("user")
        if user is not None:
            check_user_id(user, path="user")
        sums = []
        for day in _days(request):
            sums += await self._ledger.read(day, user)
        return json_response({"usage": [msgspec.structs.asdict(each) for each in sums]})


def _days(request: web.Request) -> list[str]:
    text = request.query.get("day") or time.strftime("%Y-%m-%d", time.gmtime())
    try:
        last = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("day is YYYY-MM-DD", path="day") from None
    number = request.query.get("days", "1")
    if number not in _DAYS:
        raise BadRequest(f"days is 1 to {_MOST_DAYS}", path="days")
    return [(last - timedelta(n)).isoformat() for n in reversed(range(int(number)))]
