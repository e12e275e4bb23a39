"""What aiohttp alone costs: reads a JSON body, answers with one, publishes nothing.

python -m bench.peers.aiohttp_post PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web


async def _publish(request: web.Request) -> web.Response:
    await request.json()
    return web.json_response({"published": []})


async def _main(port: int) -> None:
    app = web.Application()
    app.add_routes([web.post("/publish", _publish)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
