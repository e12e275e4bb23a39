"""Processes for tests and soaks: a Valkey that keeps its data, and nodes behind fault proxies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from hub.backends.embedded import SOCKET_NAME, embedded_command
from tests.faults import FaultProxy
from tests.forked_hub import HubProcess, start_hub
from tests.topologies import free_ports

_START_SECONDS = 60.0


class Valkey:
    """A Valkey process and its data."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_NAME
        self.socket = str(self._path)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        # With `everysec`, a server on a busy disk acknowledges writes that it has not passed to the
        # kernel yet, and a kill loses them.
        options = ("--appendfsync", "no", "--logfile", str(self._folder / "log"))
        self._process = await asyncio.create_subprocess_exec(
            *embedded_command(self._folder, keep=True),
            *options,
            stdin=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_START_SECONDS):
            while b"PONG" not in await self.ask("PING"):
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill the process, as a crash does; the file stays as it is."""
        await _end(self._process, signal.SIGKILL)

    def forget(self) -> None:
        """Delete the data."""
        shutil.rmtree(self._folder / "appendonlydir")

    def stall(self, stalled: bool) -> None:
        """Pause the process, or let it continue."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP if stalled else signal.SIGCONT)

    async def ask(self, command: str) -> bytes:
        """Return the first bytes of the reply; empty when the server does not answer."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
            writer.write(command.encode() + b"\r\n")
            reply = await reader.read(4096)
            writer.close()
        except OSError:
            return b""
        return reply


class HubMember(ABC):
    """A process of the hub that can be killed, paused and started again.

    proxy: what leads it to the broker. log: the file of its output. settings: variables of the
    environment.
    """

    command = ""  # of `hub`

    def __init__(
        self, name: str, proxy: FaultProxy, log: Path, settings: Mapping[str, str]
    ) -> None:
        self.name = name
        self.proxy = proxy
        self._log = log
        self._env = {
            **os.environ,
            "HUB_REDIS__URL": f"redis://127.0.0.1:{proxy.port}",
            "HUB_AUTH__DISABLED": "true",
            "HUB_LOGS__FORMAT": "json",
            **settings,
        }
        self._process: HubProcess | None = None

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Return when the process answers; start it again when it found no broker."""
        async with asyncio.timeout(60):
            while True:
                with self._log.open("ab") as log:
                    self._process = start_hub(self.command, env=self._env, output=log)
                while self._process.returncode is None:
                    with suppress(aiohttp.ClientError):
                        async with session.get(self._health_url()):
                            return
                    await asyncio.sleep(0.05)

    @abstractmethod
    def _health_url(self) -> str:
        """Return the URL that answers when the process has started."""

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended."""
        return self._process is None or self._process.returncode is not None

    def stall(self, stalled: bool) -> None:
        """Pause the process, or let it continue."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP if stalled else signal.SIGCONT)

    async def end(self, how: signal.Signals) -> None:
        await _end(self._process, how)


class Node(HubMember):
    """A `hub serve` process on its own ports."""

    command = "serve"

    def __init__(
        self, name: str, proxy: FaultProxy, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        port, internal_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.internal_url = f"http://127.0.0.1:{internal_port}"
        own = {
            "HUB_NODE__NAME": name,
            "HUB_PUBLIC__PORT": str(port),
            "HUB_INTERNAL__PORT": str(internal_port),
            "HUB_STREAM__HEARTBEAT_SECONDS": "1",
            "HUB_STREAM__RETRY_MS": "300",
        }
        super().__init__(name, proxy, log, {**own, **(settings or {})})

    def _health_url(self) -> str:
        return f"{self.internal_url}/healthz"


class Worker(HubMember):
    """A `hub worker` process."""

    command = "worker"

    def __init__(
        self, name: str, proxy: FaultProxy, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        (self._port,) = free_ports(1)
        super().__init__(
            name, proxy, log, {"HUB_WORKER__PORT": str(self._port), **(settings or {})}
        )

    def _health_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/healthz"


async def _end(
    process: asyncio.subprocess.Process | HubProcess | None, how: signal.Signals
) -> None:
    if process is None or process.returncode is not None:
        return
    process.send_signal(how)
    if how is not signal.SIGKILL:
        process.send_signal(signal.SIGCONT)
    await process.wait()
