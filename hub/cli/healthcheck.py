"""`hub healthcheck`: the health check of containers, whose images have no curl."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

if TYPE_CHECKING:
    from hub.settings import Settings

_TIMEOUT_SECONDS: Final = 2.0


def add_commands(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(healthcheck)


def healthcheck() -> None:
    """Whether the node or worker here answers.

    By the same settings as the process; exit code 0, or 1 when nothing answers in 2 seconds.

    Example: hub healthcheck && echo yes
    """
    from hub.settings import load_settings

    settings = load_settings(None, {}).settings
    if not any(map(_answers, _listeners(settings))):
        raise typer.Exit(1)


class _Listener(NamedTuple):
    """address: host and port, or a unix socket's path."""

    address: tuple[str, int] | str
    secure: bool = False


def _listeners(settings: Settings) -> Iterator[_Listener]:
    internal, worker = settings.internal, settings.worker
    address = internal.socket or (internal.host, internal.port)
    yield _Listener(address, secure=internal.tls_cert is not None)
    if worker.port is not None:
        yield _Listener((worker.host, worker.port))


def _answers(listener: _Listener) -> bool:
    connection = http.client.HTTPConnection("localhost")
    try:
        with closing(connection):
            connection.sock = _connected(listener)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _connected(listener: _Listener) -> socket.socket:
    """Directly, whatever proxy the environment names for LLMs. Raises OSError."""
    if isinstance(listener.address, str):
        found = _connected_to(listener.address)
    else:
        found = socket.create_connection(listener.address, _TIMEOUT_SECONDS)
    if not listener.secure:
        return found
    context = ssl.create_default_context()
    context.check_hostname = False  # its certificate is for the name that others know it by
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(found)


def _connected_to(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(_TIMEOUT_SECONDS)
    try:
        found.connect(path)
    except OSError:
        found.close()
        raise
    return found
