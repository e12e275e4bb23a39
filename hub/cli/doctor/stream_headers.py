"""The head of a stream's answer: is it a hub's, and did the proxy leave it as it was?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import aiohttp
import msgspec

from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.http.proxy_probe import RESPONSE_HEADER

_SHOWN_CHARACTERS: Final = 200
_STREAM: Final = "text/event-stream"
_PROXY_FAULTS: Final = frozenset({502, 503, 504})


class _Problem(msgspec.Struct):
    detail: str


async def check_response(
    response: aiohttp.ClientResponse, patience_seconds: float
) -> CheckResult | None:
    """Why this is no stream of a hub; None when it is one.

    patience_seconds: for the text of a refusal.
    """
    status, kind = response.status, response.content_type
    if 300 <= status < 400:
        where = response.headers.get("Location", "nowhere")
        found = f"redirected ({status}) to {where}: that loses the token, and a POST its body"
        return fail("front", found, "give clients the URL that it leads to, or drop the redirect")
    if status == 200 and kind == _STREAM:
        return None
    if kind == "application/problem+json":
        why = await _detail(response, patience_seconds)
        return fail("front", f"the hub answers {status}: {why}", _login(status))
    if status in _PROXY_FAULTS:
        advice = "look at proxy_pass, at its upstream, and whether a node listens there"
        return fail("front", f"the proxy answers {status}: it reaches no node", advice)
    if kind == "text/html":
        found = f"an HTML page ({status}) comes instead of a stream: another application answers"
    else:
        found = f"{status} and {kind} come instead of a stream"
    return fail("front", found, "location /sse/ { proxy_pass http://hub; } (/ws/, /poll/ as well)")


def check_headers(response: aiohttp.ClientResponse) -> Iterator[CheckResult]:
    """What a proxy did to a stream's headers, and how it asked the node for it."""
    headers = response.headers
    if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
        found = f"compressed ({encoding}): a compressor holds back what it gathers"
        yield fail("compression", found, "gzip off; (and brotli off;) in this location")
    else:
        yield ok("compression", "none, though the client accepts it")
    control = ", ".join(headers.getall("Cache-Control", ())) or "missing"
    directives = {each.strip().partition("=")[0] for each in control.split(",")}
    if not {"no-store", "no-transform"} <= directives or directives & {"public", "max-age"}:
        yield warn(
            "stream headers",
            f"Cache-Control is {control}, and the hub says no-store, no-transform",
            "no proxy_hide_header, add_header or expires on Cache-Control here",
        )
    if "HIT" in headers.get("X-Cache", "").upper() or headers.get("Age", "0") != "0":
        yield fail("stream headers", "the stream comes out of a cache", "proxy_cache off;")
    if "Content-Length" in headers:
        found = "a Content-Length was added: the stream was collected first"
        yield fail("stream headers", found, "proxy_buffering off;")
    proxied = "Via" in headers or "aiohttp" not in headers.get("Server", "")
    yield from _judge_reached(headers.get(RESPONSE_HEADER, ""), proxied=proxied)


def _judge_reached(saw: str, *, proxied: bool) -> Iterator[CheckResult]:
    """By what the node saw: `HTTP/1.0; connection=close; forwarded=no`."""
    version, *rest = (word.strip() for word in saw.split(";"))
    seen = dict(word.split("=", 1) for word in rest if "=" in word)
    check = "proxy to node"
    if not version:
        advice = "no proxy_hide_header Hub-Doctor-Report; and nodes as new as this command"
        yield warn(check, "the node does not say how it was reached", advice)
    elif version == "HTTP/1.0":
        found = "the proxy speaks HTTP/1.0: it cannot tell the end of a stream from a cut"
        yield fail(check, found, 'proxy_http_version 1.1; proxy_set_header Connection "";')
    elif seen.get("connection") == "close":
        found = "the proxy closes its connection after each request, and opens one for the next"
        yield warn(check, found, 'proxy_set_header Connection ""; (and keepalive 32; upstream)')
    else:
        yield ok(check, f"{version}, connections are kept")
    if seen.get("forwarded") == "no" and proxied:
        yield warn(
            check,
            "the node is not told the client's address",
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; "
            "and public.trusted_proxies",
        )


async def _detail(response: aiohttp.ClientResponse, patience_seconds: float) -> str:
    try:
        async with asyncio.timeout(patience_seconds):
            problem = msgspec.json.decode(await response.read(), type=_Problem)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return "its reason cannot be read"
    return problem.detail[:_SHOWN_CHARACTERS]


def _login(status: int) -> str:
    if status in (401, 403):
        return 'give a good token: --token "$(hub token alice)"'
    return "see docs/http.md for what this status means"
