"""Guards that pass everything, for the benchmark `guards`: functions, and an HTTP endpoint.

`python -m bench.guard_app PORT` serves the endpoint.
"""

from __future__ import annotations

import sys

from aiohttp import web

from hub.guard import Window


async def asynchronous(window: Window) -> None:
    return None


def synchronous(window: Window) -> None:
    return None


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=204)


def main() -> None:
    app = web.Application()
    app.router.add_post("/", _answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
