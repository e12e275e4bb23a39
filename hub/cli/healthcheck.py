"""`hub healthcheck`: the health check for containers, whose images have no curl."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from hub.cli.options import ConfigOption, load

if TYPE_CHECKING:
    from hub.settings import Settings

_TIMEOUT_SECONDS: Final = 2.0


def add_commands(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(healthcheck)


def healthcheck(config: ConfigOption = None) -> None:
    """Check that the node or worker on this machine responds.

    It reads the same settings as the process: pass the same --config. Exit code 0, or 1 when
    nothing responds within 2 seconds.

    Example: hub healthcheck && echo yes
    """
    settings = load(config, {}).settings
    if not any(map(_is_healthy, _listeners(settings))):
        raise typer.Exit(1)


class _Listener(NamedTuple):
    """address: host and port, or the path of a unix socket. secure: the listener has TLS."""

    address: tuple[str, int] | str
    secure: bool = False


def _listeners(settings: Settings) -> Iterator[_Listener]:
    internal, worker = settings.internal, settings.worker
    address = internal.socket or (internal.host, internal.port)
    yield _Listener(address, secure=internal.tls_cert is not None)
    if worker.port is not None:
        yield _Listener((worker.host, worker.port))


def _is_healthy(listener: _Listener) -> bool:
    connection = http.client.HTTPConnection("localhost")
    try:
        with closing(connection):
            connection.sock = _connect(listener)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _connect(listener: _Listener) -> socket.socket:
    """Connect without a proxy: the one that the environment names is for LLMs. Raise OSError."""
    if isinstance(listener.address, str):
        connection = _connect_unix(listener.address)
    else:
        connection = socket.create_connection(listener.address, _TIMEOUT_SECONDS)
    if not listener.secure:
        return connection
    context = ssl.create_default_context()
    context.check_hostname = False  # the certificate is for the name that clients use
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def _connect_unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_TIMEOUT_SECONDS)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection
