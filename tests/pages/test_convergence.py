"""What the demo page shows does not depend on the order in which events and responses arrive.

The page runs in Chromium, in several tabs of one document (tests/pages/convergence), with a
simulated hub. A seed chooses the order of everything, so a failure can be repeated:
CONVERGENCE_SEEDS=100:140 runs forty other seeds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser

from tests.chromium import new_context

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's
_PAGES: Final = Path(__file__).parents[2] / "hub" / "http" / "pages"
_HUB: Final = """export * from "/real/hub.js";
export const connect = () => parent.tabOf(window).connect();"""
_ACTIONS: Final = 30  # of users and the network in one run
_FIRST, _END = (int(each) for each in os.environ.get("CONVERGENCE_SEEDS", "0:12").split(":"))


def _build_server() -> TestServer:
    html = (_PAGES / "demo" / "demo.html").read_text()
    for name in ("faults", "push"):
        html = html.replace(f'name="hub-{name}" content="true"', f'name="hub-{name}" content=""')
    html = html.replace("<head>", "<head><script>parent.tabOf(window).prepare(window)</script>")
    texts = {
        "/": ("text/html", '<script type="module" src="/convergence/simulation.mjs"></script>'),
        "/tab.html": ("text/html", html),
        "/hub.js": ("text/javascript", _HUB),
        "/hub-inbox.js": ("text/javascript", ""),
    }

    async def get_text(request: web.Request) -> web.Response:
        content_type, text = texts[request.path]
        return web.Response(text=text, content_type=content_type)

    app = web.Application()
    app.router.add_routes([web.get(path, get_text) for path in texts])
    app.router.add_static("/convergence", Path(__file__).parent / "convergence")
    app.router.add_static("/real", _PAGES)
    for folder in ("demo", "vendor"):
        app.router.add_static(f"/{folder}", _PAGES / folder)
    return TestServer(app)


async def test_convergence(browser: Browser) -> None:
    """A tab shows what a second tab and a new tab show, once nothing more happens."""
    differences: list[str] = []
    async with _build_server() as server:
        context = await new_context(browser)
        page = await context.new_page()
        await page.goto(str(server.make_url("/")))
        for seed in range(_FIRST, _END):
            lines = await page.evaluate(
                "([seed, options]) => runSimulation(seed, options)", [seed, {"actions": _ACTIONS}]
            )
            differences += [f"seed {seed}: {line}" for line in lines]
        await context.close()
    assert not differences, "\n".join(differences)
