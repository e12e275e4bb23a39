"""What the settings of an upstream change in its requests, and what the upstream's errors teach."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from hub.core.generation import GenerationRequest, Message
from hub.core.parts import Finished, Part, Text
from hub.errors import UpstreamError
from hub.http.server import ListenAddress, listen
from hub.settings.models import Upstream
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dialect import UpstreamRequest
from hub.upstreams.envelope import Envelope
from hub.upstreams.http.endpoint import join_url
from hub.upstreams.http.request_rules import RequestRules, find_refused_field
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.chat import OpenAiChat
from hub.wiring.upstreams import build_dialect, build_headers
from tests.defaults import envelope_rules
from tests.upstreams.kit import build_upstream, collect, iterate_parts

MESSAGES = [Message("developer", "be kind"), Message("user", "hi", name="alice")]
PARAMS = {"max_tokens": 9, "seed": 1, "logit_bias": {"5": 1}}
REQUEST = GenerationRequest(MESSAGES, "u", "m", PARAMS)
STREAM = 'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'
ANSWER: list[Part] = [Text("ok"), Finished("stop")]
Refusal = Callable[[dict[str, Any]], str | None]


class Server:
    """An LLM that refuses requests; `requests` has the path and the body of each."""

    def __init__(self, refuse: Refusal, status: int) -> None:
        self._refuse = refuse
        self._status = status
        self.requests: list[tuple[str, dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"{}")
        self.requests.append((request.path_qs, body))
        if message := self._refuse(body):
            return web.json_response({"error": {"message": message}}, status=self._status)
        return web.Response(text=STREAM, content_type="text/event-stream")


@asynccontextmanager
async def serving(
    refuse: Refusal = lambda body: None, status: int = 400
) -> AsyncIterator[tuple[str, Server]]:
    server, app = Server(refuse, status), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(app, address, cancel_handlers=True, shutdown_timeout_seconds=0.1) as port:
        yield f"http://127.0.0.1:{port}/v1", server


async def sent(rules: RequestRules) -> dict[str, Any]:
    """Return the body that an upstream with these rules receives."""
    async with serving() as (url, server):
        assert await collect(url, REQUEST, rules=rules) == ANSWER
    ((_, body),) = server.requests
    return body


async def test_omit() -> None:
    """Fields are left out at any depth; a path that does not exist changes nothing."""
    paths = ("stream_options", "messages.*.name", "logit_bias.5", "seed", "no.such.*.field")
    assert await sent(RequestRules(omit=paths)) == {
        "model": "m",
        "stream": True,
        "max_tokens": 9,
        "logit_bias": {},
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": "hi"},
        ],
    }


async def test_rename_and_roles() -> None:
    """Fields and roles get the names that the upstream knows."""
    rules = RequestRules(
        rename={"max_tokens": "max_completion_tokens", "gone": "x"}, roles={"developer": "system"}
    )
    body = await sent(rules)
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_rename_to_a_field_that_exists() -> None:
    """The field that has the new name already is kept: both at once are an error for vendors."""
    body = {"max_tokens": 1, "max_completion_tokens": 2}
    rules = RequestRules(rename={"max_tokens": "max_completion_tokens"})
    assert rules.apply(UpstreamRequest(body=body)).body == {"max_completion_tokens": 2}


async def test_roles_inside_an_envelope() -> None:
    """The roles of `{messages}` change wherever the request of an envelope has them."""
    dialect = Envelope(envelope_rules(request={"in": {"history": "{messages}"}}, path="/chat"))
    async with serving() as (url, server):
        with pytest.raises(UpstreamError):
            await collect(
                url, REQUEST, dialect=dialect, rules=RequestRules(roles={"user": "human"})
            )
    ((_, body),) = server.requests
    assert [message["role"] for message in body["in"]["history"]] == ["developer", "human"]


@pytest.mark.parametrize(
    "dialect", [OpenAiChat({}), AnthropicMessages({}), OllamaChat({})], ids=lambda each: each.kind
)
def test_answers_without_a_stream(dialect: Any) -> None:
    """With `stream = false` a request asks for one document, without the options of a stream."""
    request = RequestRules(stream=False).apply(dialect.build_request(REQUEST))
    assert request.body["stream"] is False
    assert "stream_options" not in request.body


@given(
    paths=st.lists(
        st.lists(st.sampled_from(["a", "b", "*", "0", ""]), min_size=1, max_size=4), max_size=4
    ),
    body=st.dictionaries(
        st.sampled_from(["a", "b", ""]),
        st.recursive(
            st.none() | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["a", "b", "*"]), inner, max_size=2)
            ),
            max_leaves=6,
        ),
    ),
)
@example(paths=[["", "*"]], body={"": [None]})  # a list whose items the path names, but no field
def test_any_path_can_be_left_out(paths: list[list[str]], body: dict[str, Any]) -> None:
    """No path fails, whatever the body is, and the body of the dialect is not changed."""
    before = msgspec.json.encode(body)
    rules = RequestRules(omit=tuple(".".join(path) for path in paths))
    changed = rules.apply(UpstreamRequest(body=body)).body
    assert msgspec.json.encode(body) == before
    assert {path[0] for path in paths if len(path) == 1}.isdisjoint(changed)


REFUSALS = {
    "stream_options": [
        "stream_options is not allowed",
        "body.stream_options.include_usage: Extra inputs are not permitted",
        "Unrecognized request argument supplied: stream_options",
        'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.',
        "unsupported parameter: stream_options",
        "This model does not support stream_options.",
        "Invalid parameter: stream_options",
        "Additional properties are not allowed ('stream_options' was unexpected)",
        "不支持的参数 stream_options",
    ],
    "max_tokens": [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        ),
        "max_tokens is not allowed",
        "unknown field: max_tokens",
    ],
}
NO_REFUSALS = [
    "max_tokens is too large: 9. This model supports at most 4 completion tokens.",
    "max_tokens must be at least 16",
    "Invalid parameter: max_tokens must be less than 8",
    "unexpected value of max_tokens: 9",
    "seed is not allowed",
    "the temperature is not supported; max_tokens_limit is 5",
    "",
]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("name", "message"), [(name, text) for name in REFUSALS for text in REFUSALS[name]]
)
async def test_refused_field(name: str, message: str, status: int) -> None:
    """The request is repeated without the field, and later requests do not have it at all."""
    async with (
        serving(lambda body: message if name in body else None, status) as (url, server),
        aiohttp.ClientSession() as session,
    ):
        upstream = build_upstream(session, url)
        for _ in range(2):
            parts = [part async for part in iterate_parts(upstream.stream(REQUEST))]
            assert parts == ANSWER
        other = msgspec.structs.replace(REQUEST, model="another")
        assert [part async for part in iterate_parts(upstream.stream(other))] == ANSWER
    assert [name in body for _, body in server.requests] == [True, False, False, True, False]
    if name == "max_tokens":
        assert server.requests[1][1]["max_completion_tokens"] == 9


async def test_two_refused_fields() -> None:
    """Both fields are learnt in one request."""

    def refuse(body: dict[str, Any]) -> str | None:
        names = (name for name in ("stream_options", "max_tokens") if name in body)
        return next((f"{name} is not allowed" for name in names), None)

    async with serving(refuse) as (url, server):
        assert await collect(url, REQUEST) == ANSWER
    assert len(server.requests) == 3


@pytest.mark.parametrize("message", NO_REFUSALS)
async def test_other_errors_are_not_repeated(message: str) -> None:
    """An error about a value, or about a field of the caller, is reported after one request."""
    async with serving(lambda body: message or "bad") as (url, server):
        with pytest.raises(UpstreamError, match="answered 400"):
            await collect(url, REQUEST)
    assert len(server.requests) == 1


async def test_refusal_of_every_form() -> None:
    """An upstream that refuses each name of a field is not asked for ever."""
    async with serving(lambda body: "max_tokens, max_completion_tokens: unknown") as (url, server):
        with pytest.raises(UpstreamError, match="answered 400"):
            await collect(url, REQUEST)
    assert len(server.requests) == 3


def test_status_of_a_refusal() -> None:
    """Only 400 and 422 are about a field."""
    error = UpstreamError("upstream_status", "max_tokens: unknown", retryable=False, status=404)
    assert find_refused_field(error, {"max_tokens": 1}) is None


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("http://h/v1", "/chat", "http://h/v1/chat"),
        ("http://h/v1/", "/chat", "http://h/v1/chat"),
        ("http://h", "", "http://h"),
        ("http://h/x/", "", "http://h/x/"),  # the whole URL, as it is
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "/chat/completions",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        ("http://h/v1/?a=1&b=%2F", "/chat?c=2", "http://h/v1/chat?a=1&b=%2F&c=2"),
        ("http://h/v1/chat/completions", "/chat/completions", "http://h/v1/chat/completions"),
        (
            "http://h/v1/chat/completions/?k=1",
            "/chat/completions",
            "http://h/v1/chat/completions?k=1",
        ),
        ("http://u:p@h:1/v1", "/messages", "http://u:p@h:1/v1/messages"),
    ],
)
def test_url(base_url: str, path: str, url: str) -> None:
    """The path is added before the query, and not twice."""
    assert join_url(base_url, path) == url


@given(st.dictionaries(st.text("abc-", min_size=1), st.text("xyz019", min_size=1), max_size=4))
def test_any_query_is_kept(query: dict[str, str]) -> None:
    """The parameters of the base URL reach the endpoint."""
    base = URL("http://h/v1").with_query(query)
    assert dict(URL(join_url(str(base), "/chat")).query) == query


async def test_query_over_http() -> None:
    """The query of the base URL is sent with a POST, and before the query of a GET."""
    async with serving() as (url, server):
        await collect(f"{url}?api-version=1", REQUEST)
        get = Envelope(envelope_rules(method="GET", path="/ask", request={"q": "{prompt}"}))
        with pytest.raises(UpstreamError):
            await collect(f"{url}?key=2", REQUEST, dialect=get)
    assert [path for path, _ in server.requests] == [
        "/v1/chat/completions?api-version=1",
        "/v1/ask?key=2&q=hi",
    ]


@pytest.mark.parametrize(
    ("kind", "api_key_header", "expected"),
    [
        ("openai", None, {"Authorization": "Bearer k"}),
        ("anthropic", None, {"x-api-key": "k"}),
        ("openai", "api-key", {"api-key": "k"}),
        ("anthropic", "authorization", {"Authorization": "Bearer k"}),
    ],
)
def test_header_of_the_key(kind: str, api_key_header: str | None, expected: Any) -> None:
    """The setting names another header; Authorization always has a bearer token."""
    upstream = Upstream.model_validate(
        {"kind": kind, "base_url": "http://x", "api_key": "k", "api_key_header": api_key_header}
    )
    assert build_headers(upstream, build_dialect(upstream).auth_header) == expected
