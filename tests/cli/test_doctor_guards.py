"""The doctor's check of guards: a verdict, or what is wrong."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.cli.doctor.guards import check_guards
from hub.settings import Upstream


@pytest.mark.parametrize(
    ("key", "result", "message"),
    [
        ("k", "ok", "answers with a verdict"),
        ("wrong", "fail", "the guard answered with the status 401"),
        ("odd", "fail", "the guard's answer is no verdict"),
    ],
)
async def test_guards(key: str, result: str, message: str) -> None:
    """Endpoints are asked with their key; functions are loaded by each worker."""

    async def check(request: web.Request) -> web.Response:
        window = await request.json()
        assert (window["text"], window["is_last"]) == ("", True)
        given = request.headers["Authorization"].removeprefix("Bearer ")
        if given == "odd":
            return web.Response(text="ok")
        return web.Response(status=204 if given == "k" else 401)

    app = web.Application()
    app.router.add_post("/check", check)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = f"{server.make_url('/check')}?key=secret"
        results = await check_guards(
            session,
            {
                "a": Upstream(base_url="http://x", guard={"url": url, "api_key": key}),
                "b": Upstream(base_url="http://x", guard={"target": "guards:check"}),
                "c": Upstream(base_url="http://x"),
            },
        )
    assert [(each.check, each.status) for each in results] == [
        ("guard of a", result),
        ("guard of b", "ok"),
    ]
    assert message in results[0].message
    assert "secret" not in results[0].message
    assert "guards:check" in results[1].message
