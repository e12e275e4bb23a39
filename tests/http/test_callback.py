"""Authentication by the application: accepted, refused and failed callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hub.api.origins import AllowedOrigins
from hub.http.callback import CallbackAuthenticator
from hub.http.server import ListenAddress, listen
from tests.http.kit import Hub, running_hub


class App:
    """An application with sessions."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.response: Any = web.json_response
        self.headers: dict[str, str] = {}
        self.now = 1000.0
        self.accepts_everybody = False
        self.by_query = False
        self.more: dict[str, Any] = {}

    async def who(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.json()))
        if self.accepts_everybody:
            return web.json_response({"user": "alice"}, headers=self.headers)
        if callable(self.response):
            if self.by_query:
                session = self.requests[-1][1]["query"]["session"]
                user = {"s-alice": "alice", "s-bob": "bob"}[session]
                return web.json_response({"user": user}, headers=self.headers)
            session = request.cookies.get("session") or request.headers.get("Authorization", "")
            known = {"s-alice": "alice", "s-bob": "bob", "Bearer t-alice": "alice"}
            if session not in known:
                return web.Response(status=401)
            identity = {"user": known[session], "topics": ["news"], "expires_in": 60, **self.more}
            return web.json_response(identity, headers=self.headers)
        response: web.Response = self.response
        return response


@asynccontextmanager
async def running_with(
    app: App,
    origins: Sequence[str] = (),
    *,
    require_scope: bool = False,
    timeout_seconds: float = 60.0,
) -> AsyncIterator[Hub]:
    made = web.Application()
    made.add_routes([web.post("/who", app.who)])
    async with (
        listen(made, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port,
        aiohttp.ClientSession() as session,
    ):
        authenticator = CallbackAuthenticator(
            session,
            f"http://127.0.0.1:{port}/who",
            AllowedOrigins(origins),
            timeout_seconds=timeout_seconds,
            require_scope=require_scope,
            wall=lambda: app.now,
        )
        async with running_hub(authenticator) as hub:
            yield hub


async def status(hub: Hub, path: str = "/sse/connect", **headers: str) -> int:
    async with hub.ask("GET", path, headers=headers) as response:
        status: int = response.status
        return status


async def test_yes_and_no() -> None:
    """A cookie or header identifies the user, who must match the path; the topics are respected."""
    app = App()
    async with running_with(app) as hub:
        assert await status(hub, Cookie="session=s-alice") == 200
        assert await status(hub, Authorization="Bearer t-alice") == 200
        assert (
            await status(hub, **{"x-api-key": "t-alice"}) == 200
        )  # as Anthropic's clients send it
        assert app.requests[-1][0]["Authorization"] == "Bearer t-alice"
        assert await status(hub, Cookie="session=stolen") == 401
        assert await status(hub) == 401
        assert await status(hub, "/sse/connect/bob", Cookie="session=s-alice") == 403
        assert await status(hub, "/sse/connect?topics=news", Cookie="session=s-alice") == 200
        assert await status(hub, "/sse/connect?topics=x", Cookie="session=s-alice") == 403
        headers, about = app.requests[0]
        assert headers["Cookie"] == "session=s-alice"
        assert about == {"method": "GET", "path": "/sse/connect", "query": {}}


async def test_cookie_of_another_site() -> None:
    """A cookie from a page of another site is not forwarded."""
    app = App()
    async with running_with(app) as hub:
        bad = {"Cookie": "session=s-alice", "Origin": "https://evil.example"}
        assert await status(hub, **bad) == 403
        assert app.requests == []


async def test_kept_as_long_as_it_says() -> None:
    """A response is cached for its max-age and never used for other credentials."""
    app = App()
    app.headers = {"Cache-Control": "private, max-age=10"}
    async with running_with(app) as hub:
        for _ in range(3):
            assert await status(hub, Cookie="session=s-alice") == 200
        assert len(app.requests) == 1
        assert await status(hub, "/sse/connect/alice", Cookie="session=s-bob") == 403
        assert len(app.requests) == 2
        app.now += 10
        assert await status(hub, Cookie="session=s-alice") == 200
        assert len(app.requests) == 3


FORWARDED = [
    ("/poll/connect?wait=0&session=s-alice", {}),
    ("/poll/connect?wait=0&session=s-bob", {}),
    ("/poll/connect?wait=0", {"Cookie": "session=s-alice"}),
    ("/poll/connect?wait=0", {"Cookie": "session=s-bob"}),
    ("/poll/connect?wait=0", {"Authorization": "Bearer t-alice"}),
    ("/poll/connect?wait=0&access_token=t-alice", {}),
    ("/poll/connect?wait=0", {"Cookie": "session=s-alice", "Accept-Language": "de"}),
    ("/poll/connect?wait=0", {"Cookie": "session=s-alice", "User-Agent": "x"}),
    ("/poll/connect?wait=0.0", {"Cookie": "session=s-alice"}),
    ("/sse/connect", {"Cookie": "session=s-alice"}),
    ("/poll/connect?wait=0", {"Cookie": "session=s-alice", "Origin": "https://app.example"}),
    ("/poll/connect?wait=0", {}),
    ("/poll/connect?wait=0", {"Origin": "https://app.example"}),
]


async def test_cached_response_belongs_to_all_that_was_forwarded() -> None:
    """A cached response is used again only where the application would get the same; without a
    credential it is never cached.
    """
    app = App()
    app.headers = {"Cache-Control": "max-age=30"}
    app.accepts_everybody = True
    async with running_with(app, ["https://app.example"]) as hub:
        for path, headers in FORWARDED * 2:
            assert await status(hub, path, **headers) == 200
    cached = [
        (path, headers)
        for path, headers in FORWARDED
        if {"Cookie", "Authorization"} & headers.keys() or "access_token" in path
    ]
    assert len(app.requests) == 2 * len(FORWARDED) - len(cached)


async def test_query_of_another_user_is_another_user() -> None:
    """The application's own parameter in the query identifies the user, also in the cache."""
    app = App()
    app.headers = {"Cache-Control": "max-age=30"}
    app.by_query = True
    async with running_with(app) as hub:
        for user in ("alice", "bob", "alice", "bob"):
            path = f"/sse/connect?session=s-{user}"
            async with hub.stream(path, headers={"Cookie": "consent=1"}) as stream:
                assert f'"user":"{user}"' in stream.opened.data


async def test_no_store_is_not_cached() -> None:
    """no-store has precedence over max-age."""
    app = App()
    app.headers = {"Cache-Control": "max-age=30, no-store"}
    async with running_with(app) as hub:
        for _ in range(2):
            assert await status(hub, Cookie="session=s-alice") == 200
    assert len(app.requests) == 2


async def test_response_in_pieces() -> None:
    """A response that arrives in pieces is read to its end; one that is too large is refused."""
    app = App()
    body = [b'{"user":', b'"alice"', b"}"]

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in body:
            await response.write(chunk)
            await asyncio.sleep(0.01)  # so that the pieces arrive alone
        return response

    app.who = slow  # type: ignore[assignment,method-assign]
    async with running_with(app) as hub:
        assert await status(hub, Cookie="session=s-alice") == 200
        body[1:1] = [b" " * 20_000]
        assert await status(hub, Cookie="session=s-alice") == 503


@pytest.mark.parametrize("expires_in", ["1e308", "-1e308", "0", "1e-300", "253402300799"])
async def test_any_expiry(expires_in: str) -> None:
    """Any number of seconds is accepted; one that has passed ends the stream at once."""
    app = App()
    text = f'{{"user":"alice","expires_in":{expires_in}}}'
    app.response = web.Response(text=text, content_type="application/json")
    async with running_with(app) as hub:
        async with hub.ask("POST", "/tickets", headers={"Cookie": "session=s-alice"}) as response:
            assert response.status == 201
            ticket = (await response.json())["ticket"]
        path = f"/poll/connect?wait=0&ticket={ticket}"
        assert await status(hub, path) == (200 if float(expires_in) > 1 else 401)


@pytest.mark.parametrize(
    ("new_response", "expected"),
    [
        (lambda: web.Response(status=403), 403),
        (lambda: web.Response(status=500), 503),
        (lambda: web.Response(status=302, headers={"Location": "/who"}), 503),
        (lambda: web.Response(text="yes"), 503),
        (lambda: web.json_response({"user": "a b"}), 503),
        (lambda: web.json_response({"topics": ["*"]}), 503),
        (lambda: web.json_response({"user": "alice", "topics": "*"}), 503),
    ],
)
async def test_what_is_no_yes(new_response: Any, expected: int) -> None:
    """Any invalid response refuses the user; temporary failures have a Retry-After."""
    app = App()
    async with running_with(app) as hub:
        app.response = new_response()
        async with hub.ask("GET", "/sse/connect") as response:
            assert response.status == expected
            assert ("Retry-After" in response.headers) is (expected == 503)


async def test_silence() -> None:
    """A callback that times out refuses the user."""
    app = App()

    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        raise AssertionError

    app.who = never  # type: ignore[method-assign]
    async with running_with(app, timeout_seconds=0.3) as hub:
        assert await status(hub, Cookie="session=s-alice") == 503


@pytest.mark.parametrize(
    ("scope", "may", "may_if_required"),
    [
        ("hub:stream", (True, False), (True, False)),
        (["hub:ask", "x"], (False, True), (False, True)),
        ("hub:ask hub:stream", (True, True), (True, True)),
        ("openid", (True, True), (False, False)),
        (None, (True, True), (False, False)),
    ],
)
async def test_scope(
    scope: Any, may: tuple[bool, bool], may_if_required: tuple[bool, bool]
) -> None:
    """The response may name scopes, which mean the same as those of a token."""
    for require_scope, expected in ((False, may), (True, may_if_required)):
        app = App()
        app.more = {"scope": scope}
        async with running_with(app, require_scope=require_scope) as hub:
            headers = {"Authorization": "Bearer t-alice"}
            _, stream = await hub.call("GET", "/generations", headers=headers)
            _, ask = await hub.call("POST", "/generations", headers=headers, json={})
        codes = [each.get("code") for each in (stream, ask)]
        assert [code != "scope_required" for code in codes] == [*expected]


async def test_scope_of_another_type() -> None:
    """It is a mistake of the application, as any other response that is not valid."""
    app = App()
    app.more = {"scope": 7}
    async with running_with(app) as hub:
        assert await status(hub, "/poll/connect?wait=0", Cookie="session=s-alice") == 503
