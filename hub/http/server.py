"""Serves an application on a listening socket, with every option of aiohttp's runner set."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
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

from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import OperatorError
from hub.http.request_handler import HubRequestHandler, HubRunner

_ANY_ADDRESS: Final = ipaddress.IPv6Address("::")
_ACCEPTS_PER_ITERATION: Final = 4
"""How many connections a listening socket accepts in one iteration of the event loop.

uvloop accepts one for each file descriptor (libuv since 1.45), so the socket has several. Clients
that are accepted together share calls to the broker: when all return at once, each costs a quarter
less CPU.
"""
_BACKLOG: Final = 4096
_CLEANUP_SECONDS: Final = 2.0
_REQUEST_HEAD_TIMEOUT_SECONDS: Final = 15.0


class ListenAddress(msgspec.Struct, frozen=True):
    """Where to listen: a host and port, the path of a Unix socket, or a file descriptor.

    setting: the setting that names the port, for errors. fd: a listening socket of the parent
    process. shared: other processes of this user listen on the same port, and the kernel
    distributes the connections. tls: None serves plain HTTP.
    """

    host: str
    port: int
    setting: str
    fd: int | None = None
    shared: bool = False
    path: str | None = None
    tls: ssl.SSLContext | None = None


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may send.

    max_header_bytes: the size of one header field, and of the URL. keepalive_seconds: how long an
    idle connection stays open.
    """

    max_header_bytes: int
    keepalive_seconds: float


_DEFAULT_LIMITS: Final = RequestLimits(max_header_bytes=8190, keepalive_seconds=75.0)


class SocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of each connection's socket.

    send_buffer_bytes: the size of the kernel's send buffer. user_timeout_seconds: how long a peer
    may leave data unacknowledged. They are set on the listening socket: on Linux, accepted sockets
    inherit both, so accepting a connection costs no extra call.
    """

    send_buffer_bytes: int
    user_timeout_seconds: float | None

    def apply(self, listener: socket.socket) -> None:
        """Set the options on a socket that does not listen yet. A Unix socket has no timeout."""
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
    options: SocketOptions | None = None,
    limits: RequestLimits = _DEFAULT_LIMITS,
    shutdown_timeout_seconds: float = _CLEANUP_SECONDS,
    head_timeout_seconds: float = _REQUEST_HEAD_TIMEOUT_SECONDS,
) -> AsyncIterator[int]:
    """Serve the application inside the block.

    cancel_handlers: cancel a handler when its client disconnects. shutdown_timeout_seconds: how
    long handlers may run at the end. head_timeout_seconds: how long a client may take for the
    first request. Yield the port, 0 for a Unix socket. Raise OperatorError.
    """
    runner = HubRunner(
        app,
        handle_signals=False,
        handler_cancellation=cancel_handlers,
        access_log=None,
        tcp_keepalive=False,  # the listening socket has it, and accepted ones inherit it
        keepalive_timeout=limits.keepalive_seconds,
        shutdown_timeout=shutdown_timeout_seconds,
        # One byte more, so that HubRequestHandler knows which of the two was exceeded.
        max_line_size=limits.max_header_bytes + 1,
        max_field_size=limits.max_header_bytes,
    )
    await runner.setup()
    try:
        try:
            for listener in _listeners(address):
                if listener.family != socket.AF_UNIX:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if options is not None:
                    options.apply(listener)
                copies = [listener.dup() for _ in range(_ACCEPTS_PER_ITERATION - 1)]
                for each in (listener, *copies):
                    await web.SockSite(
                        runner, each, backlog=_BACKLOG, ssl_context=address.tls
                    ).start()
        except OSError as error:
            raise _cannot_listen(address, error) from error
        async with Supervisor(SystemClock()) as tasks:
            tasks.start(
                "close idle connections", partial(_close_idle, runner, head_timeout_seconds)
            )
            yield 0 if address.path else runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _close_idle(runner: HubRunner, head_timeout_seconds: float) -> None:
    """Close connections whose first request is not complete in time (slow headers).

    aiohttp has a timer for connections that wait for a further request, but none for the first.
    """
    first_seen: dict[HubRequestHandler, float] = {}  # connections without a request
    while True:
        await asyncio.sleep(head_timeout_seconds / 4)
        now = time.monotonic()
        connections = runner.request_handlers
        # `_request_count` is private to aiohttp; a test guards it.
        first_seen = {
            each: first_seen.get(each, now) for each in connections if not each._request_count
        }
        for connection, seen_at in first_seen.items():
            if now - seen_at > head_timeout_seconds:
                connection.force_close()


def check_free(address: ListenAddress) -> None:
    """Raise OperatorError if another process listens there, even if the address is shared."""
    try:
        for listener in _listeners(address):
            listener.close()
    except OSError as error:
        raise _cannot_listen(address, error) from error


def _cannot_listen(address: ListenAddress, error: OSError) -> OperatorError:
    where, reason = address.path or f"{address.host}:{address.port}", error.strerror or str(error)
    return OperatorError(f"cannot listen on {where} ({address.setting}): {reason}")


def tls_context(cert: str, key: str, setting: str) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer.

    cert, key: paths of the certificate chain and its key. setting: the setting that names them.
    Raise OperatorError.
    """
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
    """Bind a socket to a path, for its owner and group.

    A socket file that a dead process left is replaced; one on which a process listens is not.
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


def _listeners(address: ListenAddress) -> Iterator[socket.socket]:
    """Yield a bound socket for each address of the host name; `::` takes IPv4 connections too."""
    if address.fd is not None:
        yield socket.socket(fileno=address.fd)
        return
    if address.path is not None:
        yield _unix_listener(Path(address.path))
        return
    infos = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, _, _, _, socket_address in dict.fromkeys(infos):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                only_ipv6 = ipaddress.ip_address(socket_address[0]) != _ANY_ADDRESS
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
            listener.bind(socket_address)
        except OSError:
            listener.close()
            raise
        yield listener
