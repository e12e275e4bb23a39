"""What a client sees through the proxy before the nodes: TLS, then each way of streaming at once.

Everything is told from outside: from when bytes come, from headers, and from one header in which
the node says how the request reached it (`Hub-Doctor-Report`, docs/http.md).
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

from hub.cli.doctor.proxy_stream import check_stream
from hub.cli.doctor.proxy_transports import check_poll, check_websocket
from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.cli.doctor.target import ProbeTarget

_CONNECT_SECONDS: Final = 10.0
_SOON_SECONDS: Final = 14 * 86400


async def check_proxy(visit: ProbeTarget, *, trusted: str | None = None) -> list[CheckResult]:
    """The findings. trusted: a file of certificates other than the machine's."""
    connected = await _connect(visit.url, ssl.create_default_context(cafile=trusted))
    if any(finding.verdict == "fail" for finding in connected):
        return connected
    context = ssl.create_default_context(cafile=trusted)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        headers=visit.headers,
    ) as session:
        stream, *others = await asyncio.gather(
            check_stream(session, visit),
            check_websocket(session, visit),
            check_poll(session, visit),
        )
    if any(finding.check == "front" for finding in stream):
        others = []  # no hub was found: they would say the same again
    return [*connected, *stream, *(finding for each in others for finding in each)]


async def _connect(url: str, context: ssl.SSLContext) -> list[CheckResult]:
    """Whether somebody listens, with which certificate, and up to which version of HTTP."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    place = f"{host}:{parts.port or (443 if secure else 80)}"
    if secure:
        context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(
                host, parts.port or (443 if secure else 80), ssl=context if secure else None
            )
    except ssl.SSLCertVerificationError as error:
        advice = "serve the whole chain (fullchain.pem) of a certificate for this name; a CA of "
        return [fail("tls", f"{place}: {error.verify_message}", f"{advice}your own: SSL_CERT_FILE")]
    except ssl.SSLError as error:
        advice = "listen 443 ssl; with ssl_certificate and ssl_certificate_key, or an http:// URL"
        return [fail("tls", f"{place} does not speak TLS: {error.reason or error}", advice)]
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_CONNECT_SECONDS:g} s"
        advice = "look at the name, the port, the firewall, and whether the proxy runs"
        return [fail("front", f"nobody can be reached at {place}: {why}", advice)]
    found = writer.get_extra_info("ssl_object")
    writer.close()
    return [*_judge_tls(found, host)]


def _judge_tls(found: ssl.SSLObject | None, host: str) -> Iterator[CheckResult]:
    if found is None:
        if not _is_loopback(host):
            advice = "listen 443 ssl http2; (Caddy does so by itself)"
            yield warn("tls", "without TLS tokens can be read on the way", advice)
        return
    ends = ssl.cert_time_to_seconds(str((found.getpeercert() or {}).get("notAfter")))
    left = ends - time.time()
    if left < _SOON_SECONDS:
        yield warn("tls", f"the certificate ends in {left / 86400:.1f} days", "renew it")
    else:
        yield ok("tls", f"{found.version()}, the certificate is good for {left / 86400:.0f} days")
    if found.selected_alpn_protocol() == "h2":
        yield ok("http version", "HTTP/2 is offered")
    else:
        yield warn(
            "http version",
            "only HTTP/1.1 is offered: a browser opens six connections, and each stream is one",
            "listen 443 ssl http2;",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
