"""What answers on the two ports: a hub, nobody (then they must be free to take), or another."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp

from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.settings import Settings
from hub.settings.models import Internal, Public

_PROBE_SECONDS = 3.0
_OF_A_HUB = ("text/event-stream", "application/json", "application/problem+json")


async def check_listeners(session: aiohttp.ClientSession, settings: Settings) -> list[CheckResult]:
    """One finding for each listener."""
    public = await _examine(session, "public", settings.public, "/sse/connect/doctor")
    if settings.internal.socket is not None:
        return [public, _unix_socket(settings.internal.socket)]
    return [public, await _examine(session, "internal", settings.internal, "/healthz")]


async def _examine(
    session: aiohttp.ClientSession, section: str, listener: Public | Internal, path: str
) -> CheckResult:
    check, place = f"{section} port", f"{listener.host}:{listener.port}"
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(listener.host, listener.port), _PROBE_SECONDS
        )
        writer.close()
    except (OSError, TimeoutError):
        return _free(check, section, listener.host, listener.port)
    scheme = "http" if listener.tls_cert is None else "https"
    try:
        url = f"{scheme}://{place}{path}"
        async with session.get(url, ssl=False) as response:  # its name is not 127.0.0.1
            if response.content_type in _OF_A_HUB and response.status < 500:
                return ok(check, f"a hub answers at {place}")
    except (aiohttp.ClientError, TimeoutError):
        pass
    advice = f"end it, or choose another {section}.port"
    return warn(check, f"something else answers at {place}", advice)


def _free(check: str, section: str, host: str, port: int) -> CheckResult:
    """Nobody is there; whether this user may listen there only trying tells."""
    place = f"{host}:{port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        advice = f"choose a {section}.port from 1024 on, or grant CAP_NET_BIND_SERVICE"
        return fail(check, f"this user may not listen at {place}", advice)
    except OSError as error:
        advice = f"name an address of this machine in {section}.host"
        return fail(check, f"nobody can listen at {place}: {error.strerror}", advice)
    return ok(check, f"{place} is free, no hub runs there")


def _unix_socket(path: str) -> CheckResult:
    if not Path(path).parent.is_dir():
        found = f"the folder of internal.socket is not there: {path}"
        return fail("internal socket", found, "make it, writable for the hub's user")
    there = "a socket is there" if Path(path).is_socket() else "no hub runs there"
    return ok("internal socket", f"{path}: {there}")
