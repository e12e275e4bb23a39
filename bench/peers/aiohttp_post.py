"""Serve a route that parses a JSON body and answers with JSON: the cost of aiohttp alone.

python -m bench.peers.aiohttp_post PORT
"""

from __future__ import annotations

import sys

from aiohttp import web

from bench.peers.serving import serve


async def _publish(request: web.Request) -> web.Response:
    await request.json()
    return web.json_response({"published": []})


if __name__ == "__main__":
    serve([web.post("/publish", _publish)], int(sys.argv[1]))
