"""Checks of the connection through the proxy: TLS, then status and headers of the event stream.

The client side sees the certificate and the headers. What the node sees of the request comes in the
response header `Hub-Doctor-Report` (docs/reference/http.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.http.proxy_probe import RESPONSE_HEADER

CONNECT_TIMEOUT_SECONDS: Final = 10.0
_MIN_CERTIFICATE_SECONDS: Final = 14 * 86400
_MAX_DETAIL_CHARACTERS: Final = 200
_EVENT_STREAM: Final = "text/event-stream"
_BAD_GATEWAY: Final = frozenset({502, 503, 504})


class _Problem(msgspec.Struct):
    detail: str


async def check_connection(url: str, context: ssl.SSLContext) -> list[CheckResult]:
    """Check that a server listens, its certificate, and the version of HTTP that it offers."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if secure:
        context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context if secure else None)
    except ssl.SSLCertVerificationError as error:
        message = f"the certificate of {host}:{port} is not valid: {error.verify_message}"
        advice = (
            "serve the whole chain (fullchain.pem) of a certificate for this name; for a CA of "
            "your own, set SSL_CERT_FILE"
        )
        return [fail("tls", message, advice)]
    except ssl.SSLError as error:
        advice = (
            "add listen 443 ssl; with ssl_certificate and ssl_certificate_key, or use an http:// "
            "URL"
        )
        message = f"{host}:{port} does not speak TLS: {error.reason or error}"
        return [fail("tls", message, advice)]
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s"
        advice = "check the name, the port and the firewall, and whether the proxy runs"
        return [fail("proxy", f"cannot connect to {host}:{port}: {reason}", advice)]
    tls = writer.get_extra_info("ssl_object")
    writer.close()
    return [*_check_tls(tls, host)]


def _check_tls(tls: ssl.SSLObject | None, host: str) -> Iterator[CheckResult]:
    if tls is None:
        if not _is_loopback(host):
            advice = "add listen 443 ssl http2; (Caddy does it by default)"
            yield warn("tls", "without TLS, others on the network can read the tokens", advice)
        return
    expires_at = ssl.cert_time_to_seconds(str((tls.getpeercert() or {}).get("notAfter")))
    seconds_left = expires_at - time.time()
    days_left = seconds_left / 86400
    if seconds_left < _MIN_CERTIFICATE_SECONDS:
        message = f"the certificate expires in {days_left:.1f} days"
        yield warn("tls", message, "renew the certificate")
    else:
        yield ok("tls", f"{tls.version()}, the certificate is valid for {days_left:.0f} days")
    if tls.selected_alpn_protocol() == "h2":
        yield ok("http version", "the proxy offers HTTP/2")
    else:
        yield warn(
            "http version",
            "the proxy offers HTTP/1.1 only: a browser opens at most six connections to a site, "
            "and each stream uses one",
            "add listen 443 ssl http2;",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def check_response(
    response: aiohttp.ClientResponse, timeout_seconds: float
) -> CheckResult | None:
    """Return None when the response is an event stream of a hub, else why it is not.

    timeout_seconds: how long to wait for the body of an error response.
    """
    status, content_type = response.status, response.content_type
    if 300 <= status < 400:
        location = response.headers.get("Location", "nowhere")
        message = (
            f"the proxy redirects ({status}) to {location}: a redirect loses the token, and the "
            "body of a POST"
        )
        advice = "give clients the URL that it redirects to, or remove the redirect"
        return fail("proxy", message, advice)
    if status == 200 and content_type == _EVENT_STREAM:
        return None
    if content_type == "application/problem+json":
        detail = await _read_detail(response, timeout_seconds)
        return fail("proxy", f"the hub responds with {status}: {detail}", _login_advice(status))
    if status in _BAD_GATEWAY:
        advice = "check proxy_pass and its upstream, and whether a node listens there"
        return fail("proxy", f"the proxy responds with {status}: it reaches no node", advice)
    if content_type == "text/html":
        message = f"the response is an HTML page ({status}): another application responds"
    else:
        message = f"the response has status {status} and type {content_type}: it is not a hub's"
    advice = "add location /sse/ { proxy_pass http://hub; } (and the same for /ws/ and /poll/)"
    return fail("proxy", message, advice)


def check_headers(response: aiohttp.ClientResponse) -> Iterator[CheckResult]:
    """Check what the proxy changed in the headers, and how it sent the request to the node."""
    headers = response.headers
    if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
        message = f"the stream is compressed ({encoding}): compression delays the events"
        yield fail("compression", message, "set gzip off; (and brotli off;) in this location")
    else:
        yield ok("compression", "the stream is not compressed, although the client accepts it")
    control = ", ".join(headers.getall("Cache-Control", ())) or "missing"
    directives = {each.strip().partition("=")[0] for each in control.split(",")}
    if not {"no-store", "no-transform"} <= directives or directives & {"public", "max-age"}:
        yield warn(
            "stream headers",
            f"Cache-Control is {control}; the hub sends no-store, no-transform",
            "remove proxy_hide_header, add_header and expires for Cache-Control in this location",
        )
    if "HIT" in headers.get("X-Cache", "").upper() or headers.get("Age", "0") != "0":
        yield fail("stream headers", "the stream comes from a cache", "set proxy_cache off;")
    if "Content-Length" in headers:
        message = "the proxy added a Content-Length: it collects the whole stream first"
        yield fail("stream headers", message, "set proxy_buffering off;")
    proxied = "Via" in headers or "aiohttp" not in headers.get("Server", "")
    yield from _check_report(headers.get(RESPONSE_HEADER, ""), proxied=proxied)


def _check_report(report: str, *, proxied: bool) -> Iterator[CheckResult]:
    """Check what the node reports: `HTTP/1.0; connection=close; forwarded=no`."""
    version, *rest = (word.strip() for word in report.split(";"))
    fields = dict(word.split("=", 1) for word in rest if "=" in word)
    check = "proxy to node"
    if not version:
        advice = "remove proxy_hide_header Hub-Doctor-Report; and update nodes that are too old"
        yield warn(check, "the node does not report how the request reached it", advice)
    elif version == "HTTP/1.0":
        message = (
            "the proxy uses HTTP/1.0, which cannot tell the end of a stream from an interruption"
        )
        yield fail(check, message, 'set proxy_http_version 1.1; proxy_set_header Connection "";')
    elif fields.get("connection") == "close":
        message = "the proxy opens a new connection to the node for each request"
        advice = 'set proxy_set_header Connection ""; (and keepalive 32; in the upstream)'
        yield warn(check, message, advice)
    else:
        yield ok(check, f"the proxy uses {version} and keeps its connections")
    if fields.get("forwarded") == "no" and proxied:
        yield warn(
            check,
            "the proxy does not forward the client's address",
            "set proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; and, in the "
            "settings, public.trusted_proxies",
        )


async def _read_detail(response: aiohttp.ClientResponse, timeout_seconds: float) -> str:
    try:
        async with asyncio.timeout(timeout_seconds):
            problem = msgspec.json.decode(await response.read(), type=_Problem)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return "the reason cannot be read"
    return problem.detail[:_MAX_DETAIL_CHARACTERS]


def _login_advice(status: int) -> str:
    if status in (401, 403):
        return 'pass a valid token: --token "$(hub token alice)"'
    return "see docs/reference/errors.md for the meaning of this status"
