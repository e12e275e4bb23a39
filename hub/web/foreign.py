"""What the routes under /v1 share: a question from a client that knows nothing of the hub becomes a
generation in its user's channel, and the answer is told on one of the surfaces.

The generation is the user's like any other: it goes on when the caller leaves (unless
`on_disconnect` says otherwise), any node shows it, and DELETE /generations/{id} stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.core.close import CloseReason
from hub.core.generation import Generation
from hub.engine.generations import Followed, Generations
from hub.engine.surface_stream import SurfaceStream
from hub.errors import AnswerGoesOn
from hub.ports import Created, Surface
from hub.surfaces.answer import Answer, Collected, Told
from hub.surfaces.openai_chat import error_document
from hub.surfaces.telling import STOPPED, STOPPED_CODE
from hub.web.auth import Door, Identity
from hub.web.bodies import json_response, read_json
from hub.web.errors import NOT_AGAIN
from hub.web.leaving import Leavers
from hub.web.origins import Origins
from hub.web.questions import GenerateBody, Questions
from hub.web.streaming import Streams

_FAILURES: Final = {
    "upstream_timeout": 504,
    "queue_timeout": 503,
    "upstream_resting": 503,
    "upstream_unsupported": 400,
}
_CUT: Final = "the hub has let go of this request; the answer goes on as generation {}"


class Foreigners:
    """Asks for foreign clients, and answers them."""

    def __init__(
        self,
        generations: Generations,
        streams: Streams,
        door: Door,
        questions: Questions,
        origins: Origins,
    ) -> None:
        self.generations = generations
        self.questions = questions
        self._streams = streams
        self._door = door
        self._origins = origins
        self._leavers = Leavers(generations)

    async def identify(self, request: web.Request) -> Identity:
        """Who asks."""
        return await self._door.identify(request)

    async def read(self, request: web.Request) -> dict[str, Any]:
        """The body: an object, of which clients may send more than is known here."""
        if request.content_type != "application/json":
            self._origins.check_unasked(request)
        most = self.questions.max_prompt_bytes
        return await read_json(request, dict[str, Any], max_bytes=most, also_text=True)

    async def ask(
        self,
        request: web.Request,
        identity: Identity,
        body: GenerateBody,
        *,
        key: str | None = None,
        chat: str | None = None,
        shown: bool = True,
    ) -> Created:
        """Queues the question, unless this node could not show the answer. shown: it is to."""
        stops = body.stops()
        if shown:
            self._streams.check_room(request)
        key = request.headers.get("Idempotency-Key") or key
        if body.upstream is None:
            upstream, model = self.questions.find(body.model)
            body = msgspec.structs.replace(body, upstream=upstream, model=model)
        asking = self.questions.ask(identity.user, body, key, chat=chat)
        return await self._leavers.ask(asking, identity.user, stops=stops)

    async def stream(
        self,
        request: web.Request,
        identity: Identity,
        generation: str,
        surface_of: Callable[[Generation], Surface],
        *,
        from_chunk: int = 0,
        headers: Mapping[str, str] | None = None,
        stop_when_left: bool = False,
    ) -> web.StreamResponse:
        """The answer on a surface, without the chunks before one."""
        told = {"Location": f"/generations/{generation}", **(headers or {})}
        with self._leavers.leaving(generation, identity.user, stops=stop_when_left) as leaving:
            followed = await self.generations.follow(generation, identity.user)
            surface = surface_of(followed.record)
            make = partial(SurfaceStream, followed=followed, surface=surface, from_chunk=from_chunk)
            made = leaving.made_by(make)
            return await self._streams.begin_sse(request, identity, followed.cursor, made, told)

    async def whole(
        self,
        request: web.Request,
        identity: Identity,
        generation: str,
        *,
        stop_when_left: bool = False,
    ) -> Collected:
        """Waits for the end. Raises AnswerGoesOn."""
        for _ in range(2):  # again when the log lost the answer's beginning meanwhile
            with self._leavers.leaving(generation, identity.user, stops=stop_when_left) as leaving:
                followed = await self.generations.follow(generation, identity.user)
                collected = Collected(followed.record)
                make = partial(SurfaceStream, followed=followed, surface=collected)
                made = leaving.made_by(make)
                reason = await self._streams.wait(request, identity, followed.cursor, made)
            if reason is CloseReason.ENDED:
                return collected
            if reason is not CloseReason.TRIMMED:
                break
        raise AnswerGoesOn(_CUT.format(generation))

    async def so_far(self, followed: Followed, surface: Surface) -> int:
        """Tells the surface what there is by now; how many chunks that is."""
        chunks = len(surface.opening())
        async for name, data in self.generations.past(followed):
            chunks += len(surface.feed(name, data))
        return chunks


def failed_answer(answer: Answer) -> web.Response:
    """What a caller that waited gets for an answer that has failed or was stopped."""
    end = answer.end
    status = 409 if answer.status == "stopped" else _status_of(end)
    code, message = (STOPPED_CODE, STOPPED) if status == 409 else (end.code, end.message)
    document = error_document(status, message, code=code)
    return json_response(document, status=status, headers=NOT_AGAIN)


def _status_of(end: Told) -> int:
    if end.upstream_status == 429:
        return 429
    return _FAILURES.get(end.code, 502)
