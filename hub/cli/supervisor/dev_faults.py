"""Faults that the demo page of `hub dev` asks for: the supervisor makes its child processes fail.

A node sends the name of a fault over a Unix socket in the data directory, and gets a sentence that
says what happened. Only `hub dev` has this socket, and only its user can open it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from hub.cli.supervisor.child_process import ChildProcess

SOCKET_NAME: Final = "faults.sock"
FREEZE_SECONDS: Final = 5.0
_READ_TIMEOUT_SECONDS: Final = 2.0


class DevFaults:
    """Makes child processes of `hub dev` fail. keep_running of each child starts it again."""

    def __init__(self, children: Sequence[ChildProcess]) -> None:
        self._children = children
        self._thaw: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def serve(self, data: Path) -> AsyncIterator[None]:
        """Listen on the socket inside the block. At its end no process stays frozen."""
        path = data / SOCKET_NAME
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._on_client, path)
        path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)
            self._unfreeze()

    def make(self, fault: str) -> str:
        """Make something fail. Return a sentence that says what happened."""
        if fault == "kill-worker":
            pid = self._send("worker", signal.SIGKILL)
            return f"The worker (process {pid}) was killed. A new one continues its answers."
        if fault == "restart-node":
            pid = self._send("node", signal.SIGTERM)
            return f"The node (process {pid}) restarts. Its connections come back by their cursor."
        if fault == "freeze-upstream":
            self._unfreeze()
            pid = self._send("upstream", signal.SIGSTOP)
            loop = asyncio.get_running_loop()
            self._thaw = loop.call_later(FREEZE_SECONDS, self._unfreeze)
            return f"The simulated LLM (process {pid}) is frozen for {FREEZE_SECONDS:g} seconds."
        return "There is no such fault."

    def _unfreeze(self) -> None:
        if self._thaw is None:
            return
        self._thaw.cancel()
        self._thaw = None
        self._send("upstream", signal.SIGCONT)

    def _send(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal to the first running child of this kind. Return its process id."""
        children = (child for child in self._children if child.name.startswith(name))
        pids = (child.send_signal(number) for child in children)
        return next((pid for pid in pids if pid is not None), None)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_SECONDS):
                fault = (await reader.readline()).decode(errors="replace").strip()
            writer.write(self.make(fault).encode())
        except (TimeoutError, ValueError, OSError):
            pass  # the node has gone, or it sent no line
        finally:
            writer.close()
