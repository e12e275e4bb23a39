"""Serving an application on a port, with every option of aiohttp's runner set on purpose."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from hub.errors import OperatorError

_BACKLOG: Final = 4096
_CLEANUP_SECONDS: Final = 2.0
_KEEPALIVE_SECONDS: Final = 75.0


class Place(msgspec.Struct, frozen=True):
    """Where to listen: host and port and the setting that says so, or a descriptor handed over."""

    host: str
    port: int
    setting: str
    fd: int | None = None


@asynccontextmanager
async def listening(
    app: web.Application,
    place: Place,
    *,
    cancel_handlers: bool,
    patience_seconds: float = _CLEANUP_SECONDS,
) -> AsyncIterator[int]:
    """Serves the application inside the block; gives the port. Raises OperatorError."""
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=cancel_handlers,
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=patience_seconds,
        max_line_size=8190,
        max_field_size=8190,
    )
    await runner.setup()
    try:
        check_options(runner)
        try:
            await _site(runner, place).start()
        except OSError as error:
            at = f"{place.host}:{place.port}"
            reason = error.strerror or str(error)
            raise OperatorError(f"cannot listen on {at} ({place.setting}): {reason}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def check_options(runner: web.AppRunner) -> None:
    """aiohttp drops all options, with a log line at each connection, when it does not know one."""
    server = runner.server
    if server is None or server().keepalive_timeout != _KEEPALIVE_SECONDS:
        raise RuntimeError("this aiohttp does not take the runner's options")


def _site(runner: web.AppRunner, place: Place) -> web.BaseSite:
    if place.fd is not None:
        return web.SockSite(runner, socket.socket(fileno=place.fd), backlog=_BACKLOG)
    return web.TCPSite(runner, place.host, place.port, backlog=_BACKLOG)
