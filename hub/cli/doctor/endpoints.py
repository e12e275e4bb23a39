"""Checks over HTTP: what responds on the hub's two ports?

A port on which nothing responds must be free, so that the hub can listen there.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp

from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.settings import Settings
from hub.settings.models import Internal, Public

_CONNECT_TIMEOUT_SECONDS = 3.0
_CONTENT_TYPES_OF_A_HUB = ("text/event-stream", "application/json", "application/problem+json")


async def check_listeners(session: aiohttp.ClientSession, settings: Settings) -> list[CheckResult]:
    """Check both listeners, one result for each."""
    public = await _check_port(session, "public", settings.public, "/sse/connect/doctor")
    if settings.internal.socket is not None:
        return [public, _check_unix_socket(settings.internal.socket)]
    return [public, await _check_port(session, "internal", settings.internal, "/healthz")]


async def _check_port(
    session: aiohttp.ClientSession, section: str, listener: Public | Internal, path: str
) -> CheckResult:
    check, address = f"{section} port", f"{listener.host}:{listener.port}"
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(listener.host, listener.port), _CONNECT_TIMEOUT_SECONDS
        )
        writer.close()
    except (OSError, TimeoutError):
        return _check_free(check, section, listener.host, listener.port)
    scheme = "http" if listener.tls_cert is None else "https"
    try:
        # The certificate is for the public name of the hub, not for this address.
        async with session.get(f"{scheme}://{address}{path}", ssl=False) as response:
            if response.content_type in _CONTENT_TYPES_OF_A_HUB and response.status < 500:
                return ok(check, f"a hub responds at {address}")
    except (aiohttp.ClientError, TimeoutError):
        pass
    advice = f"stop the other program, or set another {section}.port"
    return warn(check, f"another program responds at {address}", advice)


def _check_free(check: str, section: str, host: str, port: int) -> CheckResult:
    """Try to listen: no other way tells whether this user may."""
    address = f"{host}:{port}"
    try:
        family, kind, proto, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(sockaddr)
    except PermissionError:
        advice = f"set {section}.port to 1024 or more, or grant CAP_NET_BIND_SERVICE"
        return fail(check, f"this user may not listen at {address}", advice)
    except OSError as error:
        advice = f"set {section}.host to an address of this machine"
        return fail(check, f"cannot listen at {address}: {error.strerror}", advice)
    return ok(check, f"{address} is free, no hub runs there")


def _check_unix_socket(path: str) -> CheckResult:
    if not Path(path).parent.is_dir():
        message = f"the directory of internal.socket does not exist: {path}"
        return fail("internal socket", message, "create it, writable for the user of the hub")
    state = "the socket exists" if Path(path).is_socket() else "no hub runs there"
    return ok("internal socket", f"{path}: {state}")
