"""`hub serve --workers N`: node processes on one port, under one supervisor.

Each process opens the ports itself, shared with the others (SO_REUSEPORT): the kernel spreads new
connections over them, and gives none to one that has ended. They share nothing else; a user's
streams and publishes may be on different ones, as on different machines.

Rules:
1. A process that ends by itself is started again. While none has been ready yet, it ends everything
   instead, with its own exit code: that is how a wrong setting or an absent broker is said.
2. SIGTERM drains all of them at once; who is not done in time is killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from hub.cli.child_process import ChildProcess
from hub.errors import OperatorError
from hub.http.server import ListenAddress, check_free
from hub.settings import Settings

_STOP_MARGIN_SECONDS: Final = 10.0  # after the drain: what closes, and a busy machine
_START_SECONDS: Final = 20.0
_log = structlog.get_logger(__name__)


async def run_multiprocess(settings: Settings, workers: int, options: Sequence[str]) -> int:
    """Runs until SIGINT or SIGTERM; gives the exit code. Raises OperatorError.

    options: those of `hub serve`, for each process.
    """
    if settings.internal.socket is not None:
        raise OperatorError("--workers needs internal.port: processes cannot share internal.socket")
    for place in _places(settings):
        if place.port == 0:
            raise OperatorError(f"--workers needs a fixed {place.setting}, not 0")
        check_free(place)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    parts = [_node(settings.node.name, number, options, folder) for number in range(1, workers + 1)]
    stopping = asyncio.create_task(stop.wait())
    keepers: list[asyncio.Task[None]] = []
    try:
        for part in parts:
            await part.start()
        code = await _first_start(settings, parts, stopping)
        if code is not None or stopping.done():
            return code or 0
        _log.info("fleet.started", node=settings.node.name, processes=workers)
        keepers = [asyncio.create_task(part.run()) for part in parts]
        done, _ = await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopping, *keepers):
            task.cancel()
        drain_seconds = settings.node.drain_wait_seconds + settings.node.drain_seconds
        seconds = drain_seconds + _STOP_MARGIN_SECONDS
        await asyncio.gather(*(part.stop(seconds) for part in parts))
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _places(settings: Settings) -> Iterator[ListenAddress]:
    for section, listener in (("public", settings.public), ("internal", settings.internal)):
        yield ListenAddress(listener.host, listener.port, f"{section}.port")
        if listener.grpc_port is not None:
            yield ListenAddress(listener.host, listener.grpc_port, f"{section}.grpc_port")


async def _first_start(
    settings: Settings, parts: Sequence[ChildProcess], stopping: asyncio.Task[bool]
) -> int | None:
    """Returns when one is ready or it is time to stop; the exit code when one has ended before."""
    ends = [asyncio.create_task(part.process.wait()) for part in parts if part.process]
    ready = asyncio.create_task(_until_listening(settings.internal.host, settings.internal.port))
    try:
        done, _ = await asyncio.wait(
            [stopping, ready, *ends], timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            _log.warning("fleet.slow", seconds=_START_SECONDS)  # on a busy machine; it goes on
        return next((task.result() for task in ends if task in done), None)
    finally:
        for task in (ready, *ends):
            task.cancel()


async def _until_listening(host: str, port: int) -> None:
    while True:  # a process says nothing to its parent; its port does
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(0.05)


def _node(name: str, number: int, options: Sequence[str], folder: Path) -> ChildProcess:
    command = [sys.executable, "-m", "hub", "serve", "--share-ports", *options]
    env = {
        **os.environ,
        "HUB_NODE__NAME": f"{name}-{number}",
        "HUB_NODE__METRICS_DIR": str(folder),
    }
    return ChildProcess(f"node {number}", command, env)
