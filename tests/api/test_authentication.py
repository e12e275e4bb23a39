"""Authentication: which tokens are accepted, and for what."""

from __future__ import annotations

import asyncio
import base64
import hmac
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import public_key, secret_key
from hub.errors import OperatorError, Unauthorized
from hub.http.jwks import JwksKeys
from hub.http.server import ListenAddress, listen
from hub.settings import Settings
from tests.defaults import token_reader
from tests.doubles import FakeClock
from tests.http.kit import ORIGINS, Hub, check_described, running_hub

SECRET = "s" * 64
READER = token_reader([FixedKeys([secret_key(SECRET)])], audience="app", issuer="me")
AUTHENTICATOR = JwtAuthenticator(READER, AllowedOrigins(ORIGINS))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node that requires tokens."""
    async with running_hub(AUTHENTICATOR) as hub:
        yield hub


def token(key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    good = {"sub": "alice", "aud": "app", "iss": "me", "exp": int(time.time()) + 3600}
    given = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(given, key if algorithm != "none" else "", algorithm=algorithm)


@pytest.mark.parametrize("path", ["/sse/connect/alice", "/sse/connect"])
async def test_header_cookie_and_query_let_in(hub: Hub, path: str) -> None:
    """A token is accepted in each of the three places; without a user in the path it names the
    user.
    """
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
    ("given", "sentence"),
    [
        (None, "a token is required"),
        ("garbage", "not valid"),
        ({"exp": 1}, "has expired"),
        ({"exp": None}, "not valid"),
        ({"sub": None}, "not valid"),
        ({"key": "x" * 64}, "not valid"),
        ({"aud": "other"}, "not valid"),
        ({"aud": None}, "not valid"),
        ({"iss": "other"}, "not valid"),
        ({"algorithm": "none"}, "not valid"),
        ({"topics": ["a", 5]}, "must be a list"),
        ({"sub": " "}, "not a user id"),
        ({"topics": "news"}, "must be a list"),
    ],
    ids=itertools.count(),  # a token contains the time, which differs between the processes
)
async def test_refused_token(hub: Hub, given: Any, sentence: str) -> None:
    """An invalid token gets a 401 with WWW-Authenticate, and the response never contains it."""
    text = token(**given) if isinstance(given, dict) else given
    headers = {"Authorization": f"Bearer {text}"} if text else {}
    async with hub.ask("GET", "/sse/connect/alice", headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert sentence in problem["detail"]
    assert not text or text not in problem["detail"]


async def test_another_users_stream_is_forbidden(hub: Hub) -> None:
    """The stream of another user is a 403 that names both; a wrong key is a 401 that says so."""
    headers = {"Authorization": f"Bearer {token()}"}
    status, problem = await hub.call("GET", "/sse/connect/bob", headers=headers)
    assert status == 403
    assert "as 'alice', and the path names 'bob'" in problem["detail"]
    headers = {"Authorization": f"Bearer {token(key='x' * 64)}"}
    status, problem = await hub.call("GET", "/sse/connect/alice", headers=headers)
    assert status == 401
    assert "signed with another key" in problem["detail"]


async def test_topics_by_claim(hub: Hub) -> None:
    """The claim allows topics by name or by a wildcard at the end; any other topic is a 403."""
    headers = {"Authorization": f"Bearer {token(topics=['news', 'team.*'])}"}
    async with hub.stream("/sse/connect/alice?topics=news,team.red", headers=headers) as stream:
        assert stream.opened.name == "hub.open"
    for topic in ("newspaper", "tea", "other"):
        path = f"/sse/connect/alice?topics={topic}"
        assert (await hub.call("GET", path, headers=headers))[0] == 403


async def test_no_publishing_from_the_page(hub: Hub) -> None:
    """POST /dev/publish exists only without authentication, and the page is told so."""
    headers = {"Authorization": f"Bearer {token()}"}
    assert (await hub.call("POST", "/dev/publish", json={}, headers=headers))[0] == 404
    async with hub.ask("GET", "/", headers={"Accept-Encoding": "identity"}) as response:
        page = await response.text()
    assert '<meta name="hub-dev" content="false">' in page
    assert '<meta name="hub-push" content="false">' in page  # the settings have no keys


def pair(kind: str) -> tuple[Any, str, str]:
    """Return a private key, its public key in PEM, and the algorithm."""
    private: Any
    if kind == "rsa":
        private, algorithm = rsa.generate_private_key(65537, 2048), "RS256"
    elif kind == "ec":
        private, algorithm = ec.generate_private_key(ec.SECP256R1()), "ES256"
    else:
        private, algorithm = ed25519.Ed25519PrivateKey.generate(), "EdDSA"
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public.decode(), algorithm


def signed(private: Any, algorithm: str, **header: Any) -> str:
    claims = {"sub": "alice", "exp": int(time.time()) + 60, "jti": "t1", "topics": ["news"]}
    return jwt.encode(claims, private, algorithm=algorithm, headers=header)


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
async def test_public_keys(kind: str) -> None:
    """Each kind of key verifies its own algorithm, and rejects a signature of another key."""
    private, pem, algorithm = pair(kind)
    reader = token_reader([FixedKeys([secret_key(SECRET), public_key(pem)])])
    claims = await reader.read(signed(private, algorithm))
    assert (claims.user, claims.topics, claims.token_id) == ("alice", ("news",), "t1")
    other, _, _ = pair(kind)
    with pytest.raises(Unauthorized, match="not valid"):
        await reader.read(signed(other, algorithm))


async def test_algorithm_follows_from_the_key() -> None:
    """A public key is not accepted as an HS256 secret (RFC 8725, 2.1)."""
    _, pem, _ = pair("rsa")
    reader = token_reader([FixedKeys([public_key(pem)])])
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    claims = {"sub": "alice", "exp": int(time.time()) + 60}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    body = header + b"." + payload
    mac = base64.urlsafe_b64encode(hmac.digest(pem.encode(), body, "sha256")).rstrip(b"=")
    with pytest.raises(Unauthorized, match="no key for its algorithm, 'HS256'; it takes RS256"):
        await reader.read((body + b"." + mac).decode())


@pytest.mark.parametrize("pem", ["", "garbage", "-----BEGIN PUBLIC KEY-----\nAA\n"])
def test_what_is_no_key(pem: str) -> None:
    """An invalid key in the settings is an OperatorError."""
    with pytest.raises(OperatorError):
        public_key(pem)


class Provider:
    """Serves the key set of an identity provider; it can be made unavailable."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.away = False

    def rotate(self, kid: str) -> str:
        """Add a key to the set and return a token that it has signed."""
        private, _, algorithm = pair("ec")
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
        self.keys.append({**jwk, "kid": kid, "use": "sig"})
        return signed(private, algorithm, kid=kid)

    async def serve(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.away:
            raise web.HTTPServiceUnavailable
        odd = [{"kty": "oct", "k": "AA"}, {"kty": "nonsense"}, 5, {"use": "enc"}]
        return web.json_response({"keys": [*odd, *self.keys]})


async def test_jwks() -> None:
    """The set is fetched once, again for an unknown key after the cool-down, and kept while the
    endpoint is down.
    """
    provider, clock = Provider(), FakeClock()
    first = provider.rotate("k1")
    app = web.Application()
    app.add_routes([web.get("/jwks", provider.serve)])
    async with (
        listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port,
        aiohttp.ClientSession() as session,
    ):
        source = JwksKeys(session, f"http://127.0.0.1:{port}/jwks", clock)
        reader = token_reader([source])
        readings = await asyncio.gather(*(reader.read(first) for _ in range(5)))
        assert [claims.user for claims in readings] == ["alice"] * 5
        assert provider.requests == 1
        second = provider.rotate("k2")
        with pytest.raises(Unauthorized):
            await reader.read(second)
        assert provider.requests == 1
        await clock.advance(30.0)
        assert (await reader.read(second)).user == "alice"
        assert provider.requests == 2
        provider.away = True
        await clock.advance(7200.0)
        assert (await reader.read(first)).user == "alice"
        async with asyncio.timeout(60):  # the set is fetched again in the background
            while provider.requests < 3:
                await asyncio.sleep(0.01)


async def test_key_set_that_cannot_be_fetched() -> None:
    """While the key set is unavailable, a token is a 503 with Retry-After; the first request after
    the retry delay succeeds, and later keys need no cool-down either.
    """
    provider, clock = Provider(), FakeClock()
    first = provider.rotate("k1")
    provider.away = True
    app = web.Application()
    app.add_routes([web.get("/jwks", provider.serve)])
    async with (
        listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port,
        aiohttp.ClientSession() as session,
    ):
        source = JwksKeys(session, f"http://127.0.0.1:{port}/jwks", clock)
        authenticator = JwtAuthenticator(token_reader([source]), AllowedOrigins([]))
        async with running_hub(authenticator) as hub:
            headers = {"Authorization": f"Bearer {first}"}
            for _ in range(3):  # the failure counts for all requests of one second
                async with hub.ask("GET", "/poll/connect?wait=0", headers=headers) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "1"
            assert provider.requests == 1
            provider.away = False
            await clock.advance(1.0)
            assert (await hub.call("GET", "/poll/connect?wait=0", headers=headers))[0] == 200
            second = {"Authorization": f"Bearer {provider.rotate('k2')}"}
            provider.away = True
            await clock.advance(30.0)
            assert (await hub.call("GET", "/poll/connect?wait=0", headers=second))[0] == 503
            assert (await hub.call("GET", "/poll/connect?wait=0", headers=headers))[0] == 200
            provider.away = False
            await clock.advance(1.0)
            assert (await hub.call("GET", "/poll/connect?wait=0", headers=second))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://app.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_cookie_from_another_site(hub: Hub, headers: dict[str, str], status: int) -> None:
    """A cookie is accepted only from a page of an allowed origin."""
    cookies = {"hub_token": token()}
    path = "/sse/connect/alice"
    async with hub.ask("GET", path, headers=headers, cookies=cookies) as response:
        assert response.status == status
    bearer = {"Authorization": f"Bearer {token()}"}  # nobody's page sends this by itself
    async with hub.ask("GET", path, headers={**headers, **bearer}) as response:
        assert response.status == 200


async def test_cors(hub: Hub) -> None:
    """An allowed origin may read responses with credentials; any other origin may not."""
    good = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with hub.ask("OPTIONS", "/generations", headers=good) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Last-Event-ID" in response.headers["Access-Control-Allow-Headers"]
    bad = {**good, "Origin": "https://evil.example"}
    async with hub.ask("OPTIONS", "/generations", headers=bad) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
    headers = {"Origin": "https://app.example", "Authorization": f"Bearer {token()}"}
    async with hub.ask("GET", "/sse/connect", headers=headers) as response:
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in response.headers["Vary"]


async def test_requested_headers_are_mirrored(hub: Hub) -> None:
    """A page of an allowed origin may send the headers that it asks for, if they are names."""
    requested = (
        "sentry-trace, baggage,traceparent , X-Requested-With, OpenAI-Beta, bad name, a:b, é"
    )
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": requested,
    }
    async with hub.ask("OPTIONS", "/generations", headers=headers) as response:
        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"sentry-trace", "baggage", "traceparent", "X-Requested-With", "OpenAI-Beta"} <= {
        *allowed
    }
    assert {"Authorization", "Last-Event-ID"} <= {*allowed}
    assert not {"bad name", "a:b", "é"} & {*allowed}
    assert len(allowed) == len({name.lower() for name in allowed})


async def test_refused_origin_is_logged_once_and_counted() -> None:
    """The operator learns which setting lets the page in."""
    with capture_logs() as logs:
        async with running_hub() as hub:
            for origin in ("https://new.example", "https://new.example", "https://app.example"):
                headers = {"Origin": origin}
                assert (await hub.call("GET", "/poll/connect/a?wait=0", headers=headers))[0] == 200
            own = {"Origin": f"http://127.0.0.1:{hub.port}"}
            assert (await hub.call("GET", "/poll/connect/a?wait=0", headers=own))[0] == 200
            metrics = (await hub.metrics()).decode()
    (refused,) = [each for each in logs if each["event"] == "cors.origin_refused"]
    assert refused["origin"] == "https://new.example"
    assert "public.allowed_origins" in refused["advice"]
    assert re.search(r"^hub_origins_refused_total(\{.*\})? 2(\.0)?$", metrics, re.MULTILINE)


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "https://app.example",
            "http://localhost:5173",
            "capacitor://localhost",
            "ionic://localhost",
        ),
        *("tauri://localhost", "chrome-extension://abcdefgh", "app://obsidian.md"),
    ],
)
def test_origins_of_apps(origin: str) -> None:
    """Origins of pages and of apps can be allowed; a URL with a path cannot."""
    assert Settings(public={"allowed_origins": [origin]}).public.allowed_origins == (origin,)
    for wrong in (f"{origin}/", f"{origin}/x", "app.example", "*", ""):
        with pytest.raises(ValueError, match="allowed_origins"):
            Settings(public={"allowed_origins": [wrong]})


async def test_stream_ends_with_its_token(hub: Hub) -> None:
    """The client is warned before its token expires; then the stream ends and resumes with a new
    token.
    """
    short = token(exp=time.time() + 1.5)
    keeping = asyncio.create_task(hub.node.connections.expiry_timer.run())
    try:
        async with hub.stream("/sse/connect", params={"access_token": short}) as stream:
            notice = await stream.next()
            assert notice.name == "hub.expiring"
            assert json.loads(notice.data)["reason"] == "expired"
            check_described(notice.name, json.loads(notice.data))
            bye = await stream.next()
            assert json.loads(bye.data)["reason"] == "expired"
            assert time.time() < jwt.decode(short, options={"verify_signature": False})["exp"] + 2
    finally:
        keeping.cancel()


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "::", "null", "http://" + "a" * 300])
async def test_odd_origin(hub: Hub, origin: str) -> None:
    """A malformed origin counts as another site."""
    headers = {"Origin": origin, "Cookie": f"hub_token={token()}"}
    async with hub.ask("GET", "/sse/connect/alice", headers=headers) as response:
        assert response.status == 403
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin": origin,
    }
    async with hub.ask("GET", "/ws/connect/alice", headers=upgrade) as response:
        assert response.status == 403


async def test_empty_user_is_nobody() -> None:
    """Without authentication an empty user id is a 400, also on routes with a default user."""
    async with running_hub() as hub:
        for path in ("/generations/g00aaaaaaaaaaaaaaaa?user=", "/v1/ui/chat/c?user="):
            assert (await hub.call("DELETE", path))[0] == 400, path
        assert (await hub.call("DELETE", "/v1/ui/chat/c"))[0] == 200
