"""Tokens: who gets in, and where to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from hub.web.auth import TokenDoor
from tests.web.kit import Hub, running_hub

SECRET = "s" * 64
DOOR = TokenDoor(SECRET, audience="app", issuer="me")


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node that asks for tokens."""
    async with running_hub(DOOR) as hub:
        yield hub


def token(key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    good = {"sub": "alice", "aud": "app", "iss": "me", "exp": int(time.time()) + 3600}
    given = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(given, key if algorithm != "none" else "", algorithm=algorithm)


@pytest.mark.parametrize("path", ["/sse/connect/alice", "/sse/connect"])
async def test_header_cookie_and_query_let_in(hub: Hub, path: str) -> None:
    """Each of the three ways; without a name in the path the user is the token's."""
    good = token()
    ways: list[dict[str, Any]] = [
        {"headers": {"Authorization": f"Bearer {good}"}},
        {"cookies": {"hub_token": good}},
        {"params": {"access_token": good}},
    ]
    for way in ways:
        async with hub.stream(path, **way) as stream:
            assert '"user":"alice"' in stream.opened.data


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "a token is needed"),
        ("garbage", "not valid"),
        (token(exp=1), "has expired"),
        (token(exp=None), "not valid"),
        (token(sub=None), "not valid"),
        (token(key="x" * 64), "not valid"),
        (token(aud="other"), "not valid"),
        (token(aud=None), "not valid"),
        (token(iss="other"), "not valid"),
        (token(algorithm="none"), "not valid"),
        (token(algorithm="HS512"), "not valid"),
        (token(topics="news"), "not a list"),
    ],
)
async def test_refused_token(hub: Hub, given: str | None, says: str) -> None:
    """401 with WWW-Authenticate; the sentence never holds the token."""
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    async with hub.ask("GET", "/sse/connect/alice", headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert says in problem["detail"]
    assert not given or given not in problem["detail"]


async def test_another_users_stream_is_forbidden(hub: Hub) -> None:
    """403, whatever else is right."""
    headers = {"Authorization": f"Bearer {token()}"}
    assert (await hub.call("GET", "/sse/connect/bob", headers=headers))[0] == 403


async def test_topics_by_claim(hub: Hub) -> None:
    """A topic by its name or by a wildcard at the end; any other is 403."""
    headers = {"Authorization": f"Bearer {token(topics=['news', 'team.*'])}"}
    async with hub.stream("/sse/connect/alice?topics=news,team.red", headers=headers) as stream:
        assert stream.opened.name == "hub.open"
    for topic in ("newspaper", "tea", "other"):
        path = f"/sse/connect/alice?topics={topic}"
        assert (await hub.call("GET", path, headers=headers))[0] == 403


async def test_no_publishing_from_the_page(hub: Hub) -> None:
    """The page's note to self exists in the open mode alone, and the page knows."""
    headers = {"Authorization": f"Bearer {token()}"}
    assert (await hub.call("POST", "/dev/publish", json={}, headers=headers))[0] == 404
    async with hub.ask("GET", "/") as response:
        assert '<meta name="hub-dev" content="false">' in await response.text()
