"""Processes under a supervisor of ours (`hub dev`, `hub serve --workers N`)."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from hub.errors import OperatorError

_LEAST_PAUSE_SECONDS: Final = 0.2
_MOST_PAUSE_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_log = structlog.get_logger(__name__)


class ChildProcess:
    """One process: its command, and how it is kept running and ended.

    It has a session of its own (Ctrl-C on the terminal reaches the supervisor alone), and on Linux
    the kernel ends it when the supervisor is killed.
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
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Starts it, again if need be."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            pass_fds=self._fds,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        return self.process

    async def run(self) -> None:
        """Starts it again whenever it ends. Raises OperatorError when its settings are wrong."""
        pause = _LEAST_PAUSE_SECONDS
        while True:
            assert self.process is not None
            code = await self.process.wait()
            if code == 2:
                raise OperatorError(
                    f"the {self.name} cannot run as it is set up; it says why above"
                )
            _log.warning("part.ended", part=self.name, exit_code=code)
            await asyncio.sleep(pause)
            pause = min(_MOST_PAUSE_SECONDS, pause * 2)
            await self.start()

    async def stop(self, seconds: float) -> None:
        """Asks it to end, and kills it when it has not in time."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            _log.warning("part.killed", part=self.name, after_seconds=seconds)
            process.kill()
            await process.wait()


def _die_with_parent() -> None:
    """In the child, before it becomes the part."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
