"""Tickets: one connection and its resumption."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from tests.defaults import token_reader
from tests.http.kit import Hub, running_hub

SECRET = "s" * 64


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node that requires tokens."""
    authenticator = JwtAuthenticator(
        token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([])
    )
    async with running_hub(authenticator) as hub:
        yield hub


async def ticket_of(hub: Hub, user: str = "alice", **claims: Any) -> str:
    token = jwt.encode({"sub": user, "exp": time.time() + 60, "topics": ["n"], **claims}, SECRET)
    headers = {"Authorization": f"Bearer {token}"}
    async with hub.ask("POST", "/tickets", headers=headers) as response:
        answer = await response.json()
        assert response.status == 201
        assert answer["expires_in"] == 30
        name: str = answer["ticket"]
        return name


async def status(hub: Hub, path: str, **headers: str) -> int:
    async with hub.ask("GET", path, headers=headers) as response:
        status_code: int = response.status
        return status_code


async def test_one_connection_and_its_resumption(hub: Hub) -> None:
    """A used ticket is refused by itself, and accepted with the cursor of its own stream."""
    path = f"/sse/connect/alice?topics=n&ticket={await ticket_of(hub)}"
    async with hub.stream(path) as stream:
        cursor = stream.opened.id
        assert '"user":"alice"' in stream.opened.data
    assert await status(hub, path) == 401
    assert await status(hub, path, **{"Last-Event-ID": "garbage"}) == 401
    forged = cursor.replace("-", "x-", 1)
    assert await status(hub, path, **{"Last-Event-ID": forged}) == 401
    for _ in range(2):
        async with hub.stream(path, headers={"Last-Event-ID": cursor}) as stream:
            assert '"recovered":true' in stream.opened.data


async def test_anothers_cursor_is_worth_nothing(hub: Hub) -> None:
    """A used ticket is refused with another user's cursor."""
    async with hub.stream(f"/sse/connect?ticket={await ticket_of(hub, 'bob')}") as stream:
        bobs = stream.opened.id
    path = f"/sse/connect?ticket={await ticket_of(hub)}"
    async with hub.stream(path):
        pass
    assert await status(hub, path, **{"Last-Event-ID": bobs}) == 401


async def test_what_a_ticket_is_not_for(hub: Hub) -> None:
    """A ticket is refused for another user's stream, other topics and other routes."""
    assert await status(hub, f"/sse/connect/bob?ticket={await ticket_of(hub)}") == 403
    assert await status(hub, f"/sse/connect?topics=x&ticket={await ticket_of(hub)}") == 403
    assert await status(hub, "/sse/connect?ticket=nonsense") == 401
    path = f"/generations?ticket={await ticket_of(hub)}"
    async with hub.ask("POST", path, json={"prompt": "hi"}) as response:
        assert response.status == 401
    async with hub.ask("POST", "/tickets") as response:
        assert response.status == 401


async def test_revoked_token_behind_it(hub: Hub) -> None:
    """A ticket is refused once its token is revoked."""
    name = await ticket_of(hub, jti="t1")
    await hub.node.admin_commands.revoke("t1", time.time() + 60)
    assert await status(hub, f"/sse/connect?ticket={name}") == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "https://app.example"}, 201),
        ({"Origin": "http://localhost:5173"}, 201),
        ({"Origin": "http://[::1]:5173"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
    ],
)
async def test_page_of_another_site_in_development(headers: dict[str, str], status: int) -> None:
    """Without authentication, a page of another site changes nothing by a simple request."""
    async with running_hub() as hub:
        async with hub.ask("POST", "/tickets?user=alice", headers=headers) as response:
            assert response.status == status
        path = "/generations/g00aaaaaaaaaaaaaaaa/restart?user=alice"
        async with hub.ask("POST", path, headers=headers) as response:
            assert response.status == (403 if status == 403 else 404)
