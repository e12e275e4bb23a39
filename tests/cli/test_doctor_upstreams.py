"""`hub doctor` for upstreams: the header of the key, the path and the check fit the kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from hub.cli.doctor.probe import CheckResult
from hub.cli.doctor.upstreams import check_upstreams
from hub.http.server import ListenAddress, listen
from hub.settings.models import Upstream
from tests.topologies import free_ports

KEY: Final = "key-4711-abcdef"
LIST: Final = {"object": "list", "data": [{"id": "m-1"}, {"id": "vendor/m-2"}]}
Handler = Callable[[web.Request], Awaitable[web.Response]]


class Llm:
    """A server that has the paths of one kind, and a key in one header."""

    def __init__(self, header: str, responses: dict[str, tuple[int, Any]]) -> None:
        self._header, _, self._value = header.partition(": ")
        self._responses = responses
        self.requests: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        line = f"{request.method} {request.path_qs}"
        self.requests.append(line)
        assert "application/json" in request.headers["Accept"]  # else Spring cannot write an error
        if self._header and request.headers.get(self._header) != self._value:
            sent = request.headers.get(self._header)
            return web.json_response({"error": {"message": f"bad key {sent}"}}, status=401)
        status, body = self._responses.get(line, (404, {"detail": "Not Found"}))
        if isinstance(body, str):
            return web.Response(text=body, status=status, content_type="text/html")
        return web.json_response(body, status=status)


@asynccontextmanager
async def serving(llm: Llm) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", llm.answer)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port:
        yield f"http://127.0.0.1:{port}"


async def check(url: str, **fields: Any) -> CheckResult:
    upstream = Upstream.model_validate({"base_url": url, **fields})
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        (result,) = await check_upstreams(session, {"main": upstream})
    assert KEY not in result.message + result.advice
    assert "another-key" not in result.message
    return result


BEARER: Final = f"Authorization: Bearer {KEY}"
REFUSED: Final = (400, {"error": {"message": "messages is required"}})
KINDS: Final[dict[str, tuple[str, dict[str, tuple[int, Any]], str]]] = {
    "openai": (
        BEARER,
        {"GET /v1/models": (200, LIST), "POST /v1/chat/completions": REFUSED},
        "/v1",
    ),
    "openai-responses": (
        BEARER,
        {"GET /v1/models": (200, LIST), "POST /v1/responses": REFUSED},
        "/v1",
    ),
    "anthropic": (
        f"x-api-key: {KEY}",
        {"GET /v1/models": (200, LIST), "POST /v1/messages": REFUSED},
        "/v1",
    ),
    "ollama": (
        BEARER,
        {"GET /api/tags": (200, {"models": [{"name": "m-1:latest"}]}), "POST /api/chat": REFUSED},
        "",
    ),
    "dashscope": (
        BEARER,
        {"POST /api/v1/services/aigc/text-generation/generation": REFUSED},
        "/api/v1",
    ),
    "ag_ui": (BEARER, {"OPTIONS /": (405, {})}, "/"),
    "ai_sdk": (BEARER, {"OPTIONS /api/chat": (204, "")}, "/api/chat"),
    "envelope": (BEARER, {"OPTIONS /chat": (405, {})}, "/chat"),
}
ONLY_REACHED: Final = ("ag_ui", "ai_sdk", "envelope")
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
async def test_good_upstream(kind: str) -> None:
    """The check of each kind passes with the key in the header of the kind."""
    header, responses, path = KINDS[kind]
    llm = Llm(header, responses)
    async with serving(llm) as url:
        result = await check(url + path, kind=kind, api_key=KEY, default_model="m-1")
    assert result.status == "ok", result
    assert sorted(llm.requests) == sorted(responses)


@each_kind
async def test_wrong_key(kind: str) -> None:
    """A refused key fails, and the words of the upstream are shown without the key."""
    header, responses, path = KINDS[kind]
    async with serving(Llm(header, responses)) as url:
        result = await check(url + path, kind=kind, api_key="another-key")
    assert result.status == "fail"
    assert "refuses the key (401: bad key" in result.message
    assert result.advice == "set HUB_UPSTREAMS__MAIN__API_KEY"


async def test_list_that_needs_no_key() -> None:
    """OpenRouter lists its models for everyone: the key is tested by an empty request."""
    llm = Llm("", {"GET /v1/models": (200, LIST), "POST /v1/chat/completions": (401, {})})
    async with serving(llm) as url:
        assert "refuses the key" in (await check(f"{url}/v1", api_key=KEY)).message


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONLY_REACHED])
async def test_wrong_path(kind: str) -> None:
    """A base URL without its path, such as /v1, fails: 404 is not a response of an LLM."""
    header, responses, path = KINDS[kind]
    async with serving(Llm(header, responses)) as url:
        result = await check(f"{url}{path}/wrong", kind=kind, api_key=KEY)
    assert result.status == "fail"
    assert "does not have the path" in result.message


async def test_gateway_without_a_list_of_models() -> None:
    """The list of models is optional; the endpoint itself is tested."""
    llm = Llm(BEARER, {"POST /v1/chat/completions": (422, {"detail": "messages"})})
    async with serving(llm) as url:
        result = await check(f"{url}/v1", api_key=KEY, default_model="m-1")
    assert (result.status, "accepts the key" in result.message) == ("ok", True)


async def test_query_and_header_of_the_settings() -> None:
    """The query of the base URL and `api_key_header` are used, as in a request."""
    responses = {
        "GET /d/models?api-version=1": (200, LIST),
        "POST /d/chat/completions?api-version=1": REFUSED,
    }
    async with serving(Llm(f"api-key: {KEY}", responses)) as url:
        fields = {"api_key": KEY, "api_key_header": "api-key"}
        result = await check(f"{url}/d?api-version=1", **fields)
        assert result.status == "ok", result
        assert "api-version=1" not in result.message


@pytest.mark.parametrize(
    ("model", "status"), [("m-1", "ok"), ("m-2", "ok"), ("m-3", "warn"), (None, "ok")]
)
async def test_model(model: str | None, status: str) -> None:
    """A default model that is not listed is a warning that names the models."""
    async with serving(Llm("", {"GET /v1/models": (200, LIST)})) as url:
        result = await check(f"{url}/v1", default_model=model)
    assert result.status == status
    if status == "warn":
        assert "m-1, vendor/m-2" in result.advice


AGENT_CARD: Final = {
    "supportedInterfaces": [
        {"url": "http://x/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    ]
}
CARD_REQUEST: Final = "GET /.well-known/agent-card.json"


@pytest.mark.parametrize(
    ("responses", "status", "message"),
    [
        ({CARD_REQUEST: (200, AGENT_CARD)}, "ok", "has an agent card: A2A 1.0 over JSON-RPC"),
        ({CARD_REQUEST: (200, {"url": "x"})}, "ok", "A2A 0.3 over JSON-RPC"),
        ({CARD_REQUEST: (200, {"supportedInterfaces": []})}, "fail", "names no interface"),
        ({CARD_REQUEST: (200, "<html>")}, "warn", "has no agent card"),
        ({}, "warn", "has no agent card"),
        ({CARD_REQUEST: (503, {})}, "fail", "does not work now (503"),
    ],
)
async def test_agent(responses: dict[str, tuple[int, Any]], status: str, message: str) -> None:
    """The card of an agent is read, below the URL or at the root; no message is sent."""
    agent = Llm(BEARER, responses)
    async with serving(agent) as url:
        result = await check(f"{url}/agent", kind="a2a", api_key=KEY)
    assert (result.status, message in result.message) == (status, True), result
    assert agent.requests == ["GET /agent/.well-known/agent-card.json", CARD_REQUEST]


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        ((200, "<html>sign in"), "fail", "does not answer with a list of models"),
        ((200, {"hello": 1}), "fail", "does not answer with a list of models"),
        ((503, {"error": "loading"}), "fail", "does not work now (503: loading)"),
        ((429, {"msg": "slow down"}), "warn", "refuses more requests now (429: slow down)"),
        ((302, ""), "fail", "does not have the path /chat/completions (302)"),
    ],
)
async def test_other_replies(reply: tuple[int, Any], status: str, message: str) -> None:
    """Each reply has a status and one sentence."""
    async with serving(Llm("", {"GET /v1/models": reply})) as url:
        result = await check(f"{url}/v1")
    assert result.status == status
    assert message in result.message
    assert result.advice


async def test_upstream_that_is_away() -> None:
    """The reason is shown, but no password and no query of the URL."""
    (port,) = free_ports(1)
    result = await check(f"http://user:{KEY}@127.0.0.1:{port}/v1?key={KEY}")
    assert result.status == "fail"
    shown = f"http://***@127.0.0.1:{port}/v1?key=***"
    assert result.message == f"{shown} does not respond: Connection refused"
