"""A child process of a supervisor: `hub dev` and `hub serve --workers N` use it."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from hub.errors import OperatorError

_MIN_RESTART_DELAY_SECONDS: Final = 0.2
_MAX_RESTART_DELAY_SECONDS: Final = 5.0
_STABLE_SECONDS: Final = 10.0  # after so long, an exit counts as the first one again
_CONFIGURATION_ERROR: Final = 2  # the exit code
_PR_SET_PDEATHSIG: Final = 1
_log = structlog.get_logger(__name__)


class ChildProcess:
    """Starts, restarts and stops one process.

    The process has a session of its own, so that Ctrl-C on the terminal reaches the supervisor
    only. On Linux the kernel kills it when the supervisor is killed.

    fds: file descriptors that the process inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._command = command
        self._env = env
        self._fds = fds
        self.process: asyncio.subprocess.Process | None = None  # the running, or last, process

    async def start(self) -> asyncio.subprocess.Process:
        """Start the process."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            pass_fds=self._fds,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        return self.process

    async def keep_running(self) -> None:
        """Restart the process whenever it exits.

        Raise OperatorError when it exits because of its configuration (exit code 2).
        """
        delay_seconds = _MIN_RESTART_DELAY_SECONDS
        while True:
            assert self.process is not None
            started_at = time.monotonic()
            code = await self.process.wait()
            if time.monotonic() - started_at > _STABLE_SECONDS:
                delay_seconds = _MIN_RESTART_DELAY_SECONDS
            if code == _CONFIGURATION_ERROR:
                raise OperatorError(
                    f"the configuration of the {self.name} is wrong; its own error is above"
                )
            _log.warning("child_process.exited", name=self.name, exit_code=code)
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(_MAX_RESTART_DELAY_SECONDS, delay_seconds * 2)
            await self.start()

    def send_signal(self, number: signal.Signals) -> int | None:
        """Send a signal. Return the id of the process that got it, or None if none runs."""
        process = self.process
        if process is None or process.returncode is not None:
            return None
        process.send_signal(number)
        return process.pid

    async def stop(self, timeout_seconds: float) -> None:
        """Send SIGTERM, and kill the process when it has not exited in time."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(timeout_seconds):
                await process.wait()
        except TimeoutError:
            _log.warning("child_process.killed", name=self.name, timeout_seconds=timeout_seconds)
            process.kill()
            await process.wait()


def _die_with_parent() -> None:
    """Run in the child, between fork and exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
