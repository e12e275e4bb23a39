"""The background mode of the simulated Responses API: answers that go on without a connection.

`POST` with `background` begins one, `GET` with `starting_after` reads its events behind a number,
and `POST …/cancel` ends it. The answers are kept for as long as the server runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import web

from hub.engine.tasks import BackgroundTasks, cancel_and_wait
from hub.upstreams.simulated.formats import SSE, ResponsesFormat


class _Answer:
    """events: so far, each with the sequence number of its place. status: as the API names it."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.status = "in_progress"
        self.changed = asyncio.Event()  # replaced whenever something has changed
        self.task: asyncio.Task[None] | None = None

    def add(self, events: bytes, status: str = "in_progress") -> None:
        self.events += [event + b"\n\n" for event in events.split(b"\n\n") if event]
        self.status = status
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class BackgroundAnswers:
    """Generates answers, and sends their events as often as somebody asks.

    events_per_connection: after so many events a connection is cut; None means never. is_forgetful:
    whether no answer is found again. `cancelled` counts the answers that were cancelled.
    """

    def __init__(
        self, *, events_per_connection: int | None = None, is_forgetful: bool = False
    ) -> None:
        self._events_per_connection = events_per_connection
        self._is_forgetful = is_forgetful
        self._answers: dict[str, _Answer] = {}
        self._tasks = BackgroundTasks()
        self.cancelled = 0

    async def begin(
        self,
        request: web.Request,
        generate: Callable[[ResponsesFormat], AsyncIterator[bytes]],
    ) -> web.StreamResponse:
        """Begin an answer, and send its events.

        generate: yields them, those of the same time together.
        """
        response_id = f"resp_simulated_{len(self._answers)}"
        answer = self._answers[response_id] = _Answer()
        events = generate(ResponsesFormat(response_id))
        answer.task = self._tasks.run("background answer", self._generate(answer, events))
        return await self._send(request, answer, 0)

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """Send the events of an answer behind `starting_after`."""
        answer = self._find(request)
        if answer is None or self._is_forgetful:
            return _refuse(404, f"Response with id '{request.match_info['id']}' not found.")
        after = request.query.get("starting_after", "-1")
        if request.query.get("stream") != "true" or not after.lstrip("-").isdigit():
            return _refuse(400, "stream must be true and starting_after a number")
        return await self._send(request, answer, int(after) + 1)

    async def cancel(self, request: web.Request) -> web.Response:
        """End an answer."""
        answer = self._find(request)
        if answer is None:
            return _refuse(404, f"Response with id '{request.match_info['id']}' not found.")
        if answer.status == "completed":
            return _refuse(400, "Cannot cancel a completed response.")
        if answer.status != "cancelled" and answer.task is not None:
            answer.task.cancel()
            form = ResponsesFormat(request.match_info["id"], len(answer.events))
            answer.add(form.cancelled(), "cancelled")
            self.cancelled += 1
        return _json({"id": request.match_info["id"], "status": answer.status})

    async def close(self) -> None:
        """End all answers."""
        tasks = [answer.task for answer in self._answers.values() if answer.task is not None]
        await cancel_and_wait(task for task in tasks if not task.done())

    def _find(self, request: web.Request) -> _Answer | None:
        return self._answers.get(request.match_info["id"])

    async def _generate(self, answer: _Answer, events: AsyncIterator[bytes]) -> None:
        async for block in events:
            answer.add(block)
        answer.add(b"", "completed")

    async def _send(self, request: web.Request, answer: _Answer, first: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": SSE})
        await response.prepare(request)
        limit = self._events_per_connection
        sent = first
        while True:
            changed = answer.changed
            end = len(answer.events) if limit is None else min(len(answer.events), first + limit)
            if sent < end:
                await response.write(b"".join(answer.events[sent:end]))
                sent = end
            if limit is not None and sent == first + limit and request.transport is not None:
                request.transport.abort()
                return response
            if answer.status != "in_progress" and sent == len(answer.events):
                return response
            await changed.wait()


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _refuse(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    body = msgspec.json.encode({"error": error})
    return web.Response(status=status, body=body, content_type="application/json")
