"""`hub serve --workers N`: several node processes on the same ports, under one supervisor.

Each process opens the ports itself and shares them with the others (SO_REUSEPORT). The kernel
spreads new connections over the processes, and gives none to a process that has exited. The
processes share nothing else: as with nodes on different machines, a user's streams and publishes
may be in different processes.

Invariants:
1. A process that exits is restarted. Until the first process is ready, an exit stops all of them
   instead, and the supervisor exits with the same code. This is how a wrong setting or an
   unreachable broker is reported.
2. SIGTERM drains all processes at once. One that has not finished in time is killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from hub.cli.signals import on_termination
from hub.cli.supervisor.child_process import ChildProcess
from hub.errors import OperatorError
from hub.http.server import ListenAddress, check_free
from hub.settings import Settings

_STOP_MARGIN_SECONDS: Final = 10.0  # after the drain, to close everything on a busy machine
_START_TIMEOUT_SECONDS: Final = 20.0
_log = structlog.get_logger(__name__)


async def run_multiprocess(settings: Settings, workers: int, options: Sequence[str]) -> int:
    """Run until SIGINT or SIGTERM and return the exit code. Raise OperatorError.

    workers: the number of processes. options: the options of `hub serve` for each process.
    """
    if settings.internal.socket is not None:
        raise OperatorError("--workers needs internal.port: processes cannot share internal.socket")
    for address in _listen_addresses(settings):
        if address.port == 0:
            raise OperatorError(f"--workers needs a fixed {address.setting}, not 0")
        check_free(address)
    stop_requested = asyncio.Event()
    on_termination(stop_requested.set)
    metrics_directory = Path(tempfile.mkdtemp(prefix="hub-"))
    children = [
        _node_process(settings.node.name, number, options, metrics_directory)
        for number in range(1, workers + 1)
    ]
    stopping = asyncio.create_task(stop_requested.wait())
    restarters: list[asyncio.Task[None]] = []
    try:
        for child in children:
            await child.start()
        code = await _wait_for_start(settings, children, stopping)
        if code is not None or stopping.done():
            return code or 0
        _log.info("multiprocess.started", node=settings.node.name, processes=workers)
        restarters = [asyncio.create_task(child.keep_running()) for child in children]
        done, _ = await asyncio.wait([stopping, *restarters], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopping, *restarters):
            task.cancel()
        drain_seconds = settings.node.drain_wait_seconds + settings.node.drain_seconds
        timeout_seconds = drain_seconds + _STOP_MARGIN_SECONDS
        await asyncio.gather(*(child.stop(timeout_seconds) for child in children))
        shutil.rmtree(metrics_directory, ignore_errors=True)
    return 0


def _listen_addresses(settings: Settings) -> Iterator[ListenAddress]:
    for section, listener in (("public", settings.public), ("internal", settings.internal)):
        yield ListenAddress(listener.host, listener.port, f"{section}.port")
        if listener.grpc_port is not None:
            yield ListenAddress(listener.host, listener.grpc_port, f"{section}.grpc_port")


async def _wait_for_start(
    settings: Settings, children: Sequence[ChildProcess], stopping: asyncio.Task[bool]
) -> int | None:
    """Return None when one process is ready or it is time to stop.

    Return the exit code when a process exits before that.
    """
    exits = [asyncio.create_task(child.process.wait()) for child in children if child.process]
    ready = asyncio.create_task(_wait_for_port(settings.internal.host, settings.internal.port))
    try:
        done, _ = await asyncio.wait(
            [stopping, ready, *exits],
            timeout=_START_TIMEOUT_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done:  # a busy machine: continue
            _log.warning("multiprocess.slow_start", seconds=_START_TIMEOUT_SECONDS)
        return next((task.result() for task in exits if task in done), None)
    finally:
        for task in (ready, *exits):
            task.cancel()


async def _wait_for_port(host: str, port: int) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        # The kernel announces to nobody that another process listens, so the wait is a poll.
        await asyncio.sleep(0.05)


def _node_process(
    name: str, number: int, options: Sequence[str], metrics_directory: Path
) -> ChildProcess:
    command = [sys.executable, "-m", "hub", "serve", "--share-ports", *options]
    env = {
        **os.environ,
        "HUB_NODE__NAME": f"{name}-{number}",
        "HUB_NODE__METRICS_DIR": str(metrics_directory),
    }
    return ChildProcess(f"node {number}", command, env)
