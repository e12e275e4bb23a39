"""Serve streams with aiohttp-sse as tutorials show it: one queue and one task per connection.

python -m bench.peers.aiohttp_sse_queue PORT
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web
from aiohttp_sse import sse_response

from bench.peers.serving import serve

_QUEUES: set[asyncio.Queue[str]] = set()


async def _stream(request: web.Request) -> web.StreamResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _QUEUES.add(queue)
    try:
        async with sse_response(request) as response:
            while True:
                await response.send(await queue.get())
    finally:
        _QUEUES.discard(queue)


async def _publish(request: web.Request) -> web.Response:
    text = await request.text()
    for queue in _QUEUES:
        queue.put_nowait(text)
    return web.Response(text="ok")


if __name__ == "__main__":
    serve([web.get("/stream/{user}", _stream), web.post("/publish", _publish)], int(sys.argv[1]))
