"""The scopes `hub:stream` and `hub:ask` of users' tokens, on every route and transport."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys, TokenIssuer, TokenReader
from hub.api.verifying_keys import secret_key
from tests.http.kit import ORIGINS, Hub, running_hub

SECRET = "s" * 64
NO_CLAIM = object()
STREAM_ROUTES = [
    ("GET", "/sse/connect"), ("GET", "/poll/connect?wait=0"), ("POST", "/tickets"),
    ("GET", "/generations"), ("GET", "/generations/g"), ("GET", "/generations/g/stream"),
]  # fmt: skip
ASK_ROUTES = [
    ("POST", "/generations"), ("POST", "/generations/stream"), ("DELETE", "/generations/g"),
    ("POST", "/generations/g/restart"), ("POST", "/v1/chat/completions"), ("GET", "/v1/models"),
    ("POST", "/v1/responses"), ("POST", "/v1/ui/chat"), ("POST", "/v1/agui"),
    ("POST", "/v1/completions"), ("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"),
]  # fmt: skip


@asynccontextmanager
async def hub_with(*, require_scope: bool = False) -> AsyncIterator[Hub]:
    issuer = TokenIssuer(sources=[FixedKeys([secret_key(SECRET)])])
    reader = TokenReader([issuer], leeway_seconds=5.0, require_scope=require_scope)
    async with running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS))) as hub:
        yield hub


def bearer(scope: Any) -> dict[str, str]:
    claims = {"sub": "alice", "exp": int(time.time()) + 600}
    if scope is not NO_CLAIM:
        claims["scope"] = scope
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


async def refusals(hub: Hub, scope: Any) -> set[str]:
    """Return the scopes that are missing for a token, as each route tells."""
    missing: dict[str, set[bool]] = {}
    for needed, routes in (("hub:stream", STREAM_ROUTES), ("hub:ask", ASK_ROUTES)):
        for method, path in routes:
            body: Any = {"json": {}} if method == "POST" else {}
            async with hub.ask(method, path, headers=bearer(scope), **body) as response:
                text = "" if response.status == 200 else await response.text()
            is_refused = f"the token needs the scope {needed}" in text
            assert (response.status == 403) is is_refused, (method, path, response.status)
            missing.setdefault(needed, set()).add(is_refused)
    assert all(len(each) == 1 for each in missing.values()), missing
    return {needed for needed, each in missing.items() if each == {True}}


@pytest.mark.parametrize(
    ("scope", "missing", "missing_if_required"),
    [
        ("hub:stream", {"hub:ask"}, {"hub:ask"}),
        ("hub:ask", {"hub:stream"}, {"hub:stream"}),
        ("openid hub:stream profile", {"hub:ask"}, {"hub:ask"}),
        (["hub:ask"], {"hub:stream"}, {"hub:stream"}),
        ("hub:ask hub:stream", set(), set()),
        ("openid hub:other", set(), {"hub:ask", "hub:stream"}),
        ("", set(), {"hub:ask", "hub:stream"}),
        (None, set(), {"hub:ask", "hub:stream"}),
        (NO_CLAIM, set(), {"hub:ask", "hub:stream"}),
    ],
)
async def test_routes(scope: Any, missing: set[str], missing_if_required: set[str]) -> None:
    """A token that names a scope of the hub has only those; else it has both, or none."""
    async with hub_with() as hub:
        assert await refusals(hub, scope) == missing
    async with hub_with(require_scope=True) as hub:
        assert await refusals(hub, scope) == missing_if_required


@pytest.mark.parametrize("scope", [7, {"a": 1}, [7], True])
async def test_claim_that_is_no_scope(scope: Any) -> None:
    """It is a 401 that names the claim."""
    async with hub_with() as hub:
        status, problem = await hub.call("GET", "/generations", headers=bearer(scope))
    assert (status, problem["code"]) == (401, "token_claims_invalid")
    assert "the claim scope must be" in problem["detail"]


@pytest.mark.parametrize(("scope", "status"), [("hub:stream", 403), ("hub:stream hub:ask", 200)])
@pytest.mark.parametrize("by_ticket", [False, True])
async def test_websocket(scope: str, status: int, by_ticket: bool) -> None:
    """A connection may follow events without the right to ask; a ticket inherits the scopes."""
    async with hub_with() as hub:
        headers, query = bearer(scope), ""
        if by_ticket:
            _, made = await hub.call("POST", "/tickets", headers=headers)
            headers, query = {}, f"?ticket={made['ticket']}"
        url = f"http://127.0.0.1:{hub.port}/ws/connect{query}"
        async with hub.session.ws_connect(url, headers=headers) as socket:
            await socket.send_json({"type": "generate", "body": {"prompt": "hi"}})
            reply = await next_reply(socket)
            assert reply["status"] == status
            await socket.send_json({"type": "stop", "generation": reply.get("generation", "g")})
            assert (await next_reply(socket))["status"] == status


async def next_reply(socket: aiohttp.ClientWebSocketResponse) -> Any:
    while True:
        message = json.loads((await socket.receive()).data)
        if message["event"] == "hub.reply":
            return message["data"]
