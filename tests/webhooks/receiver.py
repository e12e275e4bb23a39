"""A receiver of webhooks that verifies signatures, and fails as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" * 1
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Keeps the bodies whose signature is right, in the order of their arrival.

    secret: that of the endpoint. respond: what answers the next requests, None for a 204.
    """

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.respond: Respond | None = None
        self.requests = 0
        self.received: list[tuple[str, dict[str, Any]]] = []  # id and body of what was accepted
        self.arrived = asyncio.Event()
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/{path:.*}", self._on_request)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/hook"))

    @property
    def types(self) -> list[str]:
        return [body["type"] for _, body in self.received]

    async def wait_for(self, count: int) -> None:
        """Wait until so many bodies have been accepted."""
        async with asyncio.timeout(60):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        text = await request.text()
        Webhook(self.secret).verify(text, dict(request.headers))
        if self.respond is not None:
            response = await self.respond(request)
            if not 200 <= response.status < 300:
                return response
        self.received.append((request.headers["webhook-id"], json.loads(text)))
        self.arrived.set()
        return web.Response(status=204)
