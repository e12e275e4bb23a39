"""Serve an aiohttp application on uvloop, without an access log, until the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import uvloop
from aiohttp import web


def serve(routes: Iterable[web.RouteDef], port: int) -> None:
    """Serve the routes on loopback."""
    uvloop.run(_serve(routes, port))


async def _serve(routes: Iterable[web.RouteDef], port: int) -> None:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()
