"""Checks of the upstreams: do they respond, do they accept the key, do they have the model?

A check costs nothing: it lists the models, or sends an empty request, which an LLM rejects after it
has looked at the key. The endpoint of an envelope or of an agent is an application of the user's
own, in which an empty request might start an answer; it is only reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.errors import UpstreamError
from hub.settings import mask_url
from hub.settings.models import AGENT_KINDS, Upstream
from hub.upstreams.a2a.card import NO_CARD_STATUSES, card_urls, read_card
from hub.upstreams.a2a.upstream import A2aUpstream
from hub.upstreams.http.endpoint import join_url
from hub.upstreams.http.errors import describe_connection_error
from hub.upstreams.reading.error_reports import extract_error_text, secret_values
from hub.wiring.upstreams import build_dialect, build_headers

_MAX_BYTES: Final = 4 * 1024 * 1024  # of a list of models
_MAX_SHOWN_MODELS: Final = 5


class _ModelList(msgspec.Struct, frozen=True):
    """Where a wire format lists its models: the path, the field of the list, that of the name."""

    path: str
    items: str = "data"
    name: str = "id"


_MODEL_LISTS: Final[Mapping[str, _ModelList]] = {
    "openai": _ModelList("/models"),
    "openai-responses": _ModelList("/models"),
    "anthropic": _ModelList("/models"),
    "ollama": _ModelList("/api/tags", "models", "name"),
}
_HEADERS: Final = {"anthropic": {"anthropic-version": "2023-06-01"}}


class _Reply(msgspec.Struct, frozen=True):
    """A response. text: what an error says; value: the decoded JSON, None if it is no JSON."""

    status: int
    text: str
    value: Any


async def check_upstreams(
    session: aiohttp.ClientSession, upstreams: Mapping[str, Upstream]
) -> list[CheckResult]:
    """Check each upstream."""
    if not upstreams:
        advice = "set HUB_UPSTREAMS__MAIN__BASE_URL (and __API_KEY) for answers from an LLM"
        return [warn("upstreams", "no upstream is configured", advice)]
    endpoints = {name: each for name, each in upstreams.items() if each.is_endpoint}
    checks = (_Check(session, name, upstream).run() for name, upstream in endpoints.items())
    functions = [
        ok(f"upstream {name}", f"a function, {each.target}; each worker loads it at its start")
        for name, each in upstreams.items()
        if each.is_function
    ]
    queues = [
        ok(
            f"upstream {name}",
            f"a queue, {each.find_queue(name)}; external producers claim its jobs",
        )
        for name, each in upstreams.items()
        if each.is_queue
    ]
    return [*await asyncio.gather(*checks), *functions, *queues]


class _Check:
    """The check of one upstream."""

    def __init__(self, session: aiohttp.ClientSession, name: str, upstream: Upstream) -> None:
        self._session = session
        self._upstream = upstream
        self._dialect = build_dialect(upstream)
        own_headers = build_headers(upstream, self._dialect.auth_header)
        self._headers = {**_HEADERS.get(upstream.kind, {}), **own_headers}
        self._secrets = secret_values(self._headers, upstream.base_url)
        self._check = f"upstream {name}"
        self._variable = f"HUB_UPSTREAMS__{name.upper()}"
        self._url = mask_url(upstream.base_url)
        self._url_advice = f"check {self._variable}__BASE_URL"

    async def run(self) -> CheckResult:
        """Return the result."""
        try:
            return await self._run()
        except TimeoutError:
            return self._unreachable("it took too long")
        except aiohttp.ClientConnectorError as error:
            return self._unreachable(describe_connection_error(error))
        except (aiohttp.ClientError, ValueError) as error:
            return self._unreachable(type(error).__name__)

    async def _run(self) -> CheckResult:
        if self._upstream.kind == A2aUpstream.kind:
            return await self._check_agent()
        if self._upstream.kind in ("envelope", *AGENT_KINDS):
            reply = await self._request("OPTIONS", self._dialect.path)
            if reply.status in (401, 403) or reply.status >= 500:
                return self._judge_error(reply)
            return ok(self._check, f"{self._url} responds; its answers are not tested")
        listed, names = await self._list_models()
        if listed is not None and names is None:
            return self._judge_error(listed)
        if names is None or self._upstream.api_key is not None:  # a list may need no key
            reply = await self._request("POST", self._dialect.path, b"{}")
            if reply.status not in (200, 400, 413, 415, 422):
                return self._judge_error(reply)
        return self._judge_model(names)

    async def _check_agent(self) -> CheckResult:
        """Return whether there is a card of an agent, and how the agent is called."""
        base_url = self._upstream.base_url
        for url in card_urls(base_url):
            reply = await self._request("GET", url=url)
            if reply.status not in {HTTPStatus.OK, *NO_CARD_STATUSES}:
                return self._judge_error(reply)
            try:
                interface = read_card(msgspec.json.encode(reply.value), base_url)
            except UpstreamError as error:
                return fail(self._check, f"{self._url}: {error}", self._url_advice)
            if interface is not None:
                binding = {"jsonrpc": "JSON-RPC", "http": "HTTP+JSON"}[interface.binding]
                called = f"A2A {interface.version} over {binding}"
                return ok(self._check, f"{self._url} has an agent card: {called}")
        message = f"{self._url} has no agent card, so it must itself be the endpoint of an agent"
        return warn(self._check, message, self._url_advice)

    async def _list_models(self) -> tuple[_Reply | None, list[str] | None]:
        """Return the names of the models; a response that is an error; or neither."""
        models = _MODEL_LISTS.get(self._upstream.kind)
        if models is None:
            return None, None
        reply = await self._request("GET", models.path)
        if reply.status in (404, 405, 501):
            return None, None  # some gateways have no list
        items = reply.value.get(models.items) if isinstance(reply.value, dict) else reply.value
        if reply.status != 200 or not isinstance(items, list):
            return reply, None
        return reply, [str(each.get(models.name)) for each in items if isinstance(each, dict)]

    async def _request(
        self, method: str, path: str = "", body: bytes | None = None, *, url: str | None = None
    ) -> _Reply:
        """Send a request. url: None means the path below the base URL."""
        headers = {
            "Accept": self._dialect.framing.accept,
            **({"Content-Type": "application/json"} if body else {}),
            **self._headers,
        }
        async with self._session.request(
            method,
            url or join_url(self._upstream.base_url, path),
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=self._upstream.proxy,
            ssl=self._upstream.verify_tls,
        ) as response:
            data = await response.content.read(_MAX_BYTES)
            while len(data) < _MAX_BYTES and (more := await response.content.readany()):
                data += more
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            value = None
        return _Reply(response.status, extract_error_text(data, self._secrets), value)

    def _judge_model(self, names: list[str] | None) -> CheckResult:
        model = self._upstream.default_model
        if names and model is not None and not self._has_model(names, model):
            shown = ", ".join(names[:_MAX_SHOWN_MODELS])
            more = ", …" if len(names) > _MAX_SHOWN_MODELS else ""
            message = f"{self._url} responds, but does not list the model {model!r}"
            advice = f"check {self._variable}__DEFAULT_MODEL; it lists {shown}{more}"
            return warn(self._check, message, advice)
        key = "" if self._upstream.api_key is None else " and accepts the key"
        return ok(self._check, f"{self._url} responds{key}")

    def _has_model(self, names: list[str], model: str) -> bool:
        """Return whether the model is listed; Azure lists models, but requests name deployments."""
        endings = (f"/{model}", f"{model}:latest")
        return "azure" in self._url or any(
            name == model or name.endswith(endings) for name in names
        )

    def _judge_error(self, reply: _Reply) -> CheckResult:
        answer = f"{reply.status}: {reply.text}" if reply.text else str(reply.status)
        if reply.status in (401, 403):
            message = f"{self._url} refuses the key ({answer})"
            return fail(self._check, message, f"set {self._variable}__API_KEY")
        if reply.status == 429:
            message = f"{self._url} refuses more requests now ({answer})"
            return warn(self._check, message, "check the quota of the account, or set fallbacks")
        if reply.status >= 500:
            message = f"{self._url} does not work now ({answer})"
            return fail(self._check, message, "check the server, or set fallbacks")
        if reply.status == 200:
            message = f"{self._url} does not answer with a list of models"
            return fail(self._check, message, f"check {self._variable}__BASE_URL and __KIND")
        message = f"{self._url} does not have the path {self._dialect.path} ({answer})"
        advice = f"check {self._variable}__BASE_URL (often /v1 is missing or too much) and __KIND"
        return fail(self._check, message, advice)

    def _unreachable(self, reason: str) -> CheckResult:
        message = f"{self._url} does not respond: {reason}"
        return fail(self._check, message, self._url_advice)
