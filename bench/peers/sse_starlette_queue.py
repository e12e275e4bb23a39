"""Serve streams with sse-starlette on uvicorn (uvloop, httptools), one queue per connection.

python -m bench.peers.sse_starlette_queue PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

_QUEUES: set[asyncio.Queue[str]] = set()


async def _events() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _QUEUES.add(queue)
    try:
        while True:
            yield {"data": await queue.get()}
    finally:
        _QUEUES.discard(queue)


async def _stream(request: Request) -> EventSourceResponse:
    return EventSourceResponse(_events())


async def _publish(request: Request) -> PlainTextResponse:
    text = (await request.body()).decode()
    for queue in _QUEUES:
        queue.put_nowait(text)
    return PlainTextResponse("ok")


def main() -> None:
    """Serve until the process ends."""
    routes = [
        Route("/stream/{user}", _stream),
        Route("/publish", _publish, methods=["POST"]),
    ]
    uvicorn.run(
        Starlette(routes=routes),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
