"""Serving an application on a port, with every option of aiohttp's runner set on purpose."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import OperatorError

_BACKLOG: Final = 4096
_CLEANUP_SECONDS: Final = 2.0
_KEEPALIVE_SECONDS: Final = 75.0
_HEAD_SECONDS: Final = 15.0


class ListenAddress(msgspec.Struct, frozen=True):
    """Where to listen: host and port and the setting that says so, a unix socket's path, or a
    descriptor handed over. tls: for https.

    shared: other processes of this user listen there too, and the kernel spreads the connections.
    """

    host: str
    port: int
    setting: str
    fd: int | None = None
    shared: bool = False
    path: str | None = None
    tls: ssl.SSLContext | None = None


class SocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What each connection's socket may hold, and for how long a peer may not acknowledge it.

    Set on the listening socket: Linux hands both on to what it accepts, so they cost nothing there.
    """

    send_buffer_bytes: int
    user_timeout_seconds: float | None = None

    def apply(self, listener: socket.socket) -> None:
        """Before it listens. A unix socket has no peer that could vanish."""
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer_bytes // 2)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux only
        over_tcp = listener.family in (socket.AF_INET, socket.AF_INET6)
        if option is not None and over_tcp and self.user_timeout_seconds is not None:
            milliseconds = int(self.user_timeout_seconds * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, option, milliseconds)


@asynccontextmanager
async def listen(
    app: web.Application,
    address: ListenAddress,
    *,
    cancel_handlers: bool,
    bounds: SocketOptions | None = None,
    shutdown_timeout_seconds: float = _CLEANUP_SECONDS,
    head_seconds: float = _HEAD_SECONDS,
) -> AsyncIterator[int]:
    """Serves the application inside the block; gives the port. Raises OperatorError."""
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=cancel_handlers,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=shutdown_timeout_seconds,
        max_line_size=8190,
        max_field_size=8190,
    )
    await runner.setup()
    try:
        check_options(runner)
        try:
            for listener in _listeners(address):
                if bounds is not None:
                    bounds.apply(listener)
                await web.SockSite(
                    runner, listener, backlog=_BACKLOG, ssl_context=address.tls
                ).start()
        except OSError as error:
            raise _cannot_listen(address, error) from error
        async with Supervisor(SystemClock()) as tasks:
            tasks.start("sweep", partial(_sweep, runner, head_seconds))
            yield 0 if address.path else runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _sweep(runner: web.AppRunner, head_seconds: float) -> None:
    """Closes connections on which no request has become whole in time (slow headers): aiohttp has
    a timer for those that wait for another request, and none for the first.
    """
    since: dict[RequestHandler, float] = {}
    while True:
        await asyncio.sleep(head_seconds / 4)
        now = time.monotonic()
        here = runner.server.connections if runner.server is not None else []
        # `_request_count` is private to aiohttp; a test holds it.
        since = {each: since.get(each, now) for each in here if not each._request_count}
        for each, first_seen in since.items():
            if now - first_seen > head_seconds:
                each.force_close()


def check_free(address: ListenAddress) -> None:
    """Raises OperatorError when somebody listens there already, shared or not."""
    try:
        for listener in _listeners(address):
            listener.close()
    except OSError as error:
        raise _cannot_listen(address, error) from error


def check_options(runner: web.AppRunner) -> None:
    """aiohttp drops all options, with a log line at each connection, when it does not know one."""
    server = runner.server
    if server is None or server().keepalive_timeout != _KEEPALIVE_SECONDS:
        raise RuntimeError("this aiohttp does not take the runner's options")


def _cannot_listen(place: ListenAddress, error: OSError) -> OperatorError:
    at, reason = place.path or f"{place.host}:{place.port}", error.strerror or str(error)
    return OperatorError(f"cannot listen on {at} ({place.setting}): {reason}")


def tls_context(cert: str, key: str, setting: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate chain. Raises OperatorError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise OperatorError(f"{setting}: the certificate cannot be used: {reason}") from error
    return context


def _unix_listener(path: Path) -> socket.socket:
    """Bound to a path, for its owner and group. What a process that has died left there goes; what
    somebody listens on does not.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
    except OSError:
        listener.close()
        raise
    return listener


def _listeners(place: ListenAddress) -> Iterator[socket.socket]:
    """A bound socket for each address that the host's name has."""
    if place.fd is not None:
        yield socket.socket(fileno=place.fd)
        return
    if place.path is not None:
        yield _unix_listener(Path(place.path))
        return
    found = socket.getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, _, _, _, address in dict.fromkeys(found):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if place.shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
        yield listener
