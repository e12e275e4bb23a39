"""The proxy variables of the environment apply to the servers that the settings name, and a file
`.netrc` never adds credentials.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from hub.api.origins import AllowedOrigins
from hub.engine.tasks import SystemClock
from hub.errors import OperatorError
from hub.settings import Settings
from hub.wiring.auth import build_authenticator
from hub.wiring.guards import build_http_guard
from hub.wiring.outgoing_requests import find_environment_proxy
from hub.wiring.upstreams import build_upstreams
from tests.e2e.cluster import create_cluster

_STREAM = 'data: {"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}\n\n'
_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@asynccontextmanager
async def _run_proxy(requests: list[tuple[str, str | None]]) -> AsyncIterator[str]:
    """Run an HTTP proxy that answers for two servers which exist nowhere; yield its URL.

    requests: gets the URL and the header Authorization of each request.
    """

    async def handle(request: web.BaseRequest) -> web.Response:
        requests.append((request.raw_path, request.headers.get("Authorization")))
        if urlsplit(request.raw_path).hostname == "login.example":
            return web.json_response({"user": "alice"})
        return web.Response(text=_STREAM, content_type="text/event-stream")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_proxy_of_the_environment(tmp_path: Path) -> None:
    """The login and the LLM are reached through it, with the credentials of the request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    requests: list[tuple[str, str | None]] = []
    async with _run_proxy(requests) as proxy, create_cluster() as cluster:
        cluster.set_environment(
            {"NETRC": str(netrc), "http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": ""}
        )
        cluster.set("AUTH__DISABLED", False)
        cluster.set("AUTH__CALLBACK_URL", "http://login.example/user")
        cluster.set("AUTH__API_KEYS", [{"name": "shop", "key": "key", "scopes": ["publish"]}])
        cluster.set("UPSTREAMS__LLM__BASE_URL", "http://llm.example/v1")
        cluster.set("UPSTREAMS__LLM__API_KEY", "llm-key")
        cluster.set("UPSTREAMS__LLM__DEFAULT_MODEL", "m")
        cluster.set("DEFAULT_UPSTREAM", "llm")
        await cluster.start()
        await cluster.start_worker()
        url, headers = f"{cluster.url}/generations", {"Authorization": "Bearer login"}
        body = {"prompt": "hello"}
        async with cluster.session.post(url, json=body, headers=headers) as response:
            assert response.status == 202, await response.text()
            started = await response.json()
        stream = f"{url}/{started['generation']}/stream"
        async with cluster.session.get(stream, headers=headers) as response:
            events = (await response.text()).split("\n\n")
    assert any("generation.done" in event and "stop" in event for event in events), events
    assert set(requests) == {
        ("http://login.example/user", "Bearer login"),
        ("http://llm.example/v1/chat/completions", "Bearer llm-key"),
    }


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "http://llm.example/v1", None),
        ({"http_proxy": "http://p:3128"}, "http://llm.example/v1", "http://p:3128"),
        ({"http_proxy": "http://p:3128"}, "https://llm.example/v1", None),
        ({"https_proxy": "http://a:b@p:3128"}, "https://llm.example/v1", "http://a:b@p:3128"),
        ({"http_proxy": "p:3128"}, "http://llm.example/v1", "http://p:3128"),
        ({"http_proxy": "http://p:1", "no_proxy": ".example"}, "http://llm.example/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "http://10.0.0.7:8000/v1", None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.7:8"}, "http://10.0.0.7:8/", None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.7:8"}, "http://10.0.0.7/", "http://p:1"),
        ({"http_proxy": "https://p:3128"}, "http://llm.example/v1", None),
        ({"http_proxy": ""}, "http://llm.example/v1", None),
    ],
    ids=json.dumps,
)
def test_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    """Each scheme has its variable; NO_PROXY exempts hosts; a proxy behind TLS is not used."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_environment_proxy(url) == expected


_URL = "http://user:secret@llm.example/v1"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"auth": {"callback_url": _URL}}, "auth.callback_url"),
        ({"upstreams": {"a": {"base_url": _URL, "api_key": "k"}}}, "upstreams.a.base_url"),
        (
            {"upstreams": {"a": {"base_url": _URL, "headers": {"authorization": "Bearer k"}}}},
            "upstreams.a.base_url",
        ),
        (
            {
                "upstreams": {
                    "a": {"base_url": "http://b/v1", "guard": {"url": _URL, "api_key": "k"}}
                }
            },
            "upstreams.a.guard.url",
        ),
    ],
)
async def test_two_credentials(settings: dict[str, Any], setting: str) -> None:
    """A URL with a password, and a header Authorization: the process says so when it starts."""
    with pytest.raises(OperatorError, match=f"{setting} has a user or a password in it"):
        await _build_all(settings)


@pytest.mark.parametrize(
    "upstream",
    [
        {"base_url": _URL},
        {"base_url": _URL, "kind": "anthropic", "api_key": "k"},
        {"base_url": _URL, "api_key": "k", "api_key_header": "api-key"},
        {"base_url": "http://llm.example/@user/v1", "api_key": "k"},
    ],
)
async def test_one_credential(upstream: dict[str, Any]) -> None:
    """A URL with a password, beside a key in a header of its own."""
    await _build_all({"upstreams": {"a": upstream}})


async def _build_all(table: dict[str, Any]) -> None:
    settings = Settings(**table)
    async with aiohttp.ClientSession() as session:
        build_upstreams(settings, session, SystemClock())
        for name, upstream in settings.upstreams.items():
            if upstream.guard.is_set:
                build_http_guard(name, upstream.guard, session)
        if settings.auth.callback_url is not None:
            build_authenticator(settings, AllowedOrigins(()), session, SystemClock())
