"""A server of event streams whose connections end as those of a hub and its proxies may end."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Final, Literal

from aiohttp import web

Step = Literal["end", "bye", "unreachable", "status", "silence"]
EVENTS: Final = 40
BYE: Final = "hub.bye"


def encode(
    name: str, data: object, event_id: str | None = None, *, retry: int | None = None
) -> bytes:
    """Return an event as the hub writes it."""
    lines = [f"retry: {retry}"] if retry is not None else []
    lines += [f"event: {name}", f"data: {json.dumps(data)}"]
    lines += [f"id: {event_id}"] if event_id is not None else []
    return ("\n".join(lines) + "\n\n").encode()


class LogServer:
    """The events 0 to 39, from the cursor of the client on.

    Each connection takes the next step: `end` closes the response cleanly at any byte, `bye` sends
    only a temporary `hub.bye` with the cursor of the client, `unreachable` sends one without an id,
    as a proxy does, `status` answers 503, `silence` sends nothing after an event. After the last
    step, the client gets all events that it lacks, and a final `hub.bye`.

    connections: how many there were. without_cursor: those without one, after the first.
    """

    def __init__(self, steps: list[Step], seed: str) -> None:
        self._steps = list(steps)
        self._random = random.Random(seed)
        self.connections = 0
        self.without_cursor = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/sse/connect", self.connect)])
        return app

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        self.connections += 1
        cursor = request.headers.get("Last-Event-ID", "")
        if self.connections > 1 and not cursor:
            self.without_cursor += 1
        step = self._steps.pop(0) if self._steps else None
        if step == "status":
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if step in ("bye", "unreachable"):
            bye = {"reason": "draining", "reconnect": True, "retry_ms": 50}
            repeated = cursor if step == "bye" and cursor else None
            await response.write(encode(BYE, bye, repeated, retry=50))
            return response
        first = int(cursor.removeprefix("e")) if cursor else 0
        opened = encode("hub.open", {"connection": "c"}, f"e{first}", retry=50)
        notes = [encode("note", n, f"e{n + 1}") for n in range(first, EVENTS)]
        body = opened + b"".join(notes)
        if step == "end":  # the first connection lives until hub.open, which has the cursor
            min_bytes = len(opened) if self.connections == 1 else 1
            body = body[: self._random.randint(min_bytes, min(len(body) - 1, len(opened) + 200))]
        elif step == "silence":
            body = opened + notes[0]
        else:
            body += encode(BYE, {"reason": "disconnected", "reconnect": False})
        await response.write(body)
        if step == "silence":
            await asyncio.Event().wait()  # until the client gives up
        return response
