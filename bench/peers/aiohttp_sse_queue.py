"""The peer that tutorials show: aiohttp-sse, a queue and a task per connection, one `send` each.

python -m bench.peers.aiohttp_sse_queue PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web
from aiohttp_sse import sse_response

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


async def _main(port: int) -> None:
    app = web.Application()
    app.add_routes([web.get("/stream/{user}", _stream), web.post("/publish", _publish)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
