"""GET /generations: which answers wait and run, on all workers."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from hub.core.generation import Generation
from hub.ports import GenerationQueue, GenerationStore
from hub.web.bodies import json_response
from hub.web.keys import KeyRing
from hub.web.users import limit_of


class RunningRoutes:
    """A route of the internal listener."""

    def __init__(self, queue: GenerationQueue, store: GenerationStore, keys: KeyRing) -> None:
        self._queue = queue
        self._store = store
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/generations", self.running)]

    async def running(self, request: web.Request) -> web.Response:
        """`?limit=` of them, and how many there are. With `?text=true` also their text so far: it
        is the users' own, so that takes the scope `admin`.
        """
        with_text = request.query.get("text") == "true"
        self._keys.check(request, "admin" if with_text else "read")
        listed = await self._queue.listed(limit_of(request))
        records = await asyncio.gather(*map(self._store.find, listed.generations))
        shown = [_shown(record, with_text) for record in records if record is not None]
        return json_response({"generations": shown, "total": listed.total})


def _shown(record: Generation, with_text: bool) -> dict[str, Any]:
    shown = {
        "generation": record.id,
        "user": record.user,
        "status": record.status.value,
        "attempt": record.attempt,
        "model": record.question.model,
        "upstream": record.question.upstream,
        "asked_at": record.asked_at,
        "deltas": record.deltas,
        "characters": len(record.text),
    }
    return {**shown, "text": record.text} if with_text else shown
