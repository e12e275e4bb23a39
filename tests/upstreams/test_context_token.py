"""The header `Hub-Context`: who gets it, what it says, and how large it can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import jwt
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hub.core.channel import MAX_NAME_CHARS
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Text
from hub.engine.tasks import SystemClock
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.settings import Settings
from hub.upstreams.http.context_token import HEADER, MAX_METADATA_BYTES, ContextSigner
from hub.wiring.upstreams import build_upstreams
from tests.upstreams.kit import REQUEST, iterate_parts

KEY: Final = "k" * 64
CONTEXT: Final = GenerationContext(user="alice", generation="g1", attempt=3, metadata={"a": 1})


class Endpoints:
    """LLM servers on one port, by path. `refusing`: those that answer 401 and repeat the header."""

    def __init__(self, *refusing: str) -> None:
        self.refusing = refusing
        self.tokens: list[tuple[str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.tokens.append((name, request.headers.get(HEADER)))
        if name in self.refusing:
            return web.json_response({"error": f"bad header {request.headers[HEADER]}"}, status=401)
        body = 'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
        return web.Response(text=body, content_type="text/event-stream")


@asynccontextmanager
async def upstreams_of(
    endpoints: Endpoints, tables: dict[str, dict[str, Any]]
) -> AsyncIterator[Any]:
    """Yield upstreams with these settings, which call the endpoint of their name."""
    app = web.Application()
    app.add_routes([web.post("/{name}/chat/completions", endpoints.answer)])
    async with (
        listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port,
        aiohttp.ClientSession() as session,
    ):
        settings = Settings.model_validate(
            {
                "upstreams": {
                    name: {"base_url": f"http://127.0.0.1:{port}/{name}", "retries": 0, **table}
                    for name, table in tables.items()
                }
            }
        )
        yield build_upstreams(settings, session, SystemClock())


async def read(upstream: Any, context: GenerationContext | None = CONTEXT) -> list[Any]:
    return [part async for part in iterate_parts(upstream.stream(REQUEST, context))]


def decode(token: str | None, upstream: str, key: str = KEY) -> dict[str, Any]:
    assert token is not None
    return jwt.decode(token, key, algorithms=["HS256"], audience=f"upstream:{upstream}")


async def test_only_upstreams_with_a_key_get_it() -> None:
    """Each endpoint gets a token of its own key and audience; a request for nobody has none."""
    tables = {"a": {"context_key": KEY}, "b": {"context_key": "b" * 32}, "c": {}}
    endpoints = Endpoints()
    async with upstreams_of(endpoints, tables) as upstreams:
        for name in ("a", "b", "c"):
            assert await read(upstreams[name]) == [Text("hi"), Finished("stop")]
        await read(upstreams["a"], None)
    of_a, of_b, of_c, without_user = (token for _, token in endpoints.tokens)
    assert of_c is None
    assert without_user is None
    assert decode(of_a, "a")["user"] == "alice"
    claims = decode(of_b, "b", "b" * 32)
    assert (claims["generation"], claims["attempt"], claims["metadata"]) == ("g1", 3, {"a": 1})
    assert "chat" not in claims
    assert "sub" not in claims  # which a user's token needs


async def test_fallback_gets_its_own_token() -> None:
    """The audience is that of the endpoint that is called."""
    tables: dict[str, dict[str, Any]] = {
        "a": {"context_key": KEY, "fallbacks": ["b"], "base_url": "http://127.0.0.1:1"},
        "b": {"context_key": KEY},
    }
    endpoints = Endpoints()
    async with upstreams_of(endpoints, tables) as upstreams:
        await read(upstreams["a"])
    ((_, token),) = endpoints.tokens
    assert decode(token, "b")["attempt"] == 3
    with pytest.raises(jwt.InvalidAudienceError):
        decode(token, "a")


async def test_echoed_token_is_masked() -> None:
    """An endpoint that repeats the header in its error shows it to nobody."""
    endpoints = Endpoints("a")
    async with upstreams_of(endpoints, {"a": {"context_key": KEY}}) as upstreams:
        with pytest.raises(UpstreamError) as caught:
            await read(upstreams["a"])
    ((_, token),) = endpoints.tokens
    assert token is not None
    assert "bad header ***" in caught.value.message
    assert not any(part[:12] in caught.value.message for part in token.split("."))


@given(
    user=st.text('a😀"\\é', min_size=MAX_NAME_CHARS, max_size=MAX_NAME_CHARS),
    chat=st.none() | st.text('a😀"é', min_size=128, max_size=128),
    filler=st.sampled_from('x😀é"\u0001'),
    length=st.integers(0, MAX_METADATA_BYTES + 100),
)
def test_header_stays_below_8_kib(user: str, chat: str | None, filler: str, length: int) -> None:
    """Whatever the names are: common servers refuse larger headers. Metadata is whole or absent."""
    metadata = {"m": filler * length}
    context = GenerationContext(
        user=user, generation="g" * 19, attempt=10, chat=chat, metadata=metadata
    )
    token = ContextSigner(KEY, "u" * 64).build_headers(context)[HEADER]
    assert len(HEADER) + len(token) < 8150
    claims = decode(token, "u" * 64)
    assert claims.get("metadata", metadata) == metadata
    assert (claims["user"], claims.get("chat")) == (user, chat)
    assert ("metadata" in claims) or length * 6 > MAX_METADATA_BYTES - 10
