"""Any byte in any header and cookie of any route: a status with a reason, never a 500.

HTTP allows every byte from 0x80 to 0xFF in a header (RFC 9110, section 5.5). Proxies, other
applications of the same site, and attackers send them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import starmap
from typing import Any, Final

import aiohttp
import jwt
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.http.callback import CallbackAuthenticator
from hub.http.server import ListenAddress, listen
from tests.concurrency import gather_bounded
from tests.defaults import token_reader
from tests.described import described_operations
from tests.http.kit import ORIGINS, Hub, running_hub
from tests.security.test_fuzz import INTERNAL, PUBLIC

SECRET: Final = "s" * 64
NAMES: Final = [
    "Authorization", "Cookie", "Idempotency-Key", "Last-Event-ID", "Origin", "Host", "Accept",
    "Content-Type", "Content-Encoding", "User-Agent", "Accept-Language", "Sec-Fetch-Site",
    "X-Forwarded-For", "Forwarded", "Access-Control-Request-Method",
    "Access-Control-Request-Headers", "Upgrade", "Connection", "Sec-WebSocket-Key",
    "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "traceparent", "tracestate", "Hub-Doctor",
    "Hub-Lease", "If-Match", "If-None-Match", "If-Modified-Since", "Expect", "Range",
    "Accept-Encoding", "X-Anything",
]  # fmt: skip
NAMES_BEFORE_THE_USER: Final = [
    "Authorization", "Cookie", "Origin", "Host", "Sec-Fetch-Site", "X-Forwarded-For", "Forwarded",
]  # fmt: skip
"""The headers that are read until it is known who asks."""
USER_TOKEN: Final = jwt.encode(
    {"sub": "fuzz", "exp": 4102444800, "topics": ["*"]}, SECRET, algorithm="HS256"
)
NESTED: Final = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=")
VALUES: Final = [
    *(b"\xff", b"Bearer \xff", b"hub_token=\xff", b"hub_token=\xff\xfe; session=\xff", b"\xc3"),
    *(
        b"\xed\xa0\x80",
        b"https://\xff.example",
        b"Bearer e30.\xff.x",
        b"text/\xff",
        b"\xe2\x80\xa8",
    ),
    *(b"Bearer " + NESTED + b".e30.x", b"Bearer " + b"." * 50, b'"\xff', b"\xff=\xff", b"\xf4\x90"),
]


def random_value(pick: random.Random) -> bytes:
    """Return bytes that a header may have, around something that the hub understands."""
    start = pick.choice([b"", b"Bearer ", b"hub_token=", b"7kQ2x-4C", b"https://", b"websocket"])
    odd = bytes(pick.choice([pick.randrange(0x80, 0x100), 0x20, 0x61]) for _ in range(6))
    return start + odd + pick.choice([b"", b".e30.e30", b"; a=b", b"/x"])


async def status_of(port: int, request: bytes) -> int:
    """Return the status of the response to a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            line = await reader.readline()
    finally:
        writer.transport.abort()
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", line)
    assert match is not None, (line, request[:300])
    return int(match[1])


def described_requests(listener: str) -> Iterator[tuple[str, str, Any]]:
    """Yield a request of every operation, most of them without a valid body."""
    for method, path, operation in described_operations(listener):
        filled = re.sub(r"\{user_id\}", "fuzz", path)
        filled = re.sub(r"\{[^}]*\}", "x", filled)
        yield method, filled, {} if "requestBody" in operation else None


def build_request(method: str, path: str, body: Any, token: str, *odd: tuple[str, bytes]) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    headers = {b"host": b"localhost", b"content-type": b"application/json"}
    headers[b"content-length"] = b"%d" % len(text)
    headers[b"authorization"] = f"Bearer {token}".encode()
    headers |= {name.lower().encode(): value for name, value in odd}
    lines = [f"{method} {path} HTTP/1.1".encode(), *(b": ".join(item) for item in headers.items())]
    return b"\r\n".join(lines) + b"\r\n\r\n" + text


class Application:
    """An application that is asked who the user is, and accepts everybody."""

    def __init__(self) -> None:
        self.requests = 0

    async def who(self, request: web.Request) -> web.Response:
        self.requests += 1
        await request.json()
        return web.json_response({"user": "fuzz", "topics": ["*"]})


@asynccontextmanager
async def hub_with(kind: str) -> AsyncIterator[Hub]:
    """Run a node that authenticates users in one of three ways."""
    async with AsyncExitStack() as parts:
        keys = ApiKeys([ApiKey("k", hash_key("key"), frozenset({"publish", "read", "admin"}))])
        authenticator: Any = None
        if kind == "token":
            reader = token_reader([FixedKeys([secret_key(SECRET)])])
            authenticator = JwtAuthenticator(reader, AllowedOrigins(ORIGINS))
        elif kind == "callback":
            app = web.Application()
            app.add_routes([web.post("/who", Application().who)])
            served = listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False)
            url = f"http://127.0.0.1:{await parts.enter_async_context(served)}/who"
            session = await parts.enter_async_context(aiohttp.ClientSession())
            authenticator = CallbackAuthenticator(
                session,
                url,
                AllowedOrigins(ORIGINS),
                timeout_seconds=60,  # the machine may be busy
            )
        yield await parts.enter_async_context(
            running_hub(authenticator, None if kind == "open" else keys)
        )


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("kind", "names"),
    [("open", NAMES), ("token", NAMES_BEFORE_THE_USER), ("callback", NAMES_BEFORE_THE_USER)],
    ids=["open", "token", "callback"],
)
async def test_no_byte_in_a_header_is_a_500(kind: str, names: list[str]) -> None:
    """Every route, with every header that the hub reads, with odd bytes: never a 5xx."""
    pick = random.Random(20261129)
    with capture_logs() as logs:
        async with hub_with(kind) as hub:
            requests = [
                (port, build_request(method, path, body, token, (name, value)))
                for port, token, routes in (
                    (hub.port, USER_TOKEN, [*PUBLIC, *described_requests("public")]),
                    (hub.internal_port, "key", [*INTERNAL, *described_requests("internal")]),
                )
                for method, path, body in routes
                for name in names
                for value in [pick.choice([pick.choice(VALUES), random_value(pick)])]
            ]
            received = await gather_bounded(starmap(status_of, requests))
    assert [each for each in zip(received, requests, strict=True) if each[0] >= 500] == []
    statuses = Counter(received)
    assert [each for each in logs if each["event"] == "request.failed"] == []
    assert min(statuses[200], statuses[400], statuses[404]) > 0
    assert statuses[417 if kind == "open" else 401] > 0
