"""The child processes of a worker that run functions: how many there are, and which one is next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self

import structlog

from hub.core.verdicts import GuardContext
from hub.engine.functions.function_answers import FunctionRequest
from hub.engine.functions.function_run import ProcessRun
from hub.engine.tasks import BackgroundTasks, cancel_and_wait
from hub.engine.worker.guard_run import GuardRun
from hub.errors import OperatorError, UpstreamError
from hub.producer.protocol import FunctionOptions
from hub.upstreams.functions.process import (
    CannotLoadFunctions,
    FunctionProcess,
    NoLongerNeeded,
    is_supported,
)

_MIN_RESTART_DELAY_SECONDS: Final = 0.1
_MAX_RESTART_DELAY_SECONDS: Final = 5.0
_SLOW_START_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)


class FunctionPool:
    """Keeps a number of child processes running: `async with FunctionPool(…) as pool`.

    Entering it returns when each process has loaded the functions; it raises OperatorError when one
    cannot. new_process: returns a process that has not started. processes: how many take runs at a
    time. one_run_each: whether a process ends after its first run; then `processes` are loaded and
    wait for one.
    """

    def __init__(
        self,
        new_process: Callable[[], FunctionProcess],
        processes: int,
        *,
        one_run_each: bool = False,
    ) -> None:
        self._new_process = new_process
        self._count = processes
        self._one_run_each = one_run_each
        self._ready: list[FunctionProcess] = []
        self._changed = asyncio.Condition()
        self._failure: CannotLoadFunctions | None = None  # of the newest start, if it failed
        self._slots: list[asyncio.Task[None]] = []
        self._processes: set[FunctionProcess] = set()  # all that have not been stopped
        self._background = BackgroundTasks()
        self._wake = asyncio.Event()
        self.options: Mapping[str, FunctionOptions] = {}  # by name of the upstream

    async def __aenter__(self) -> Self:
        if not is_supported():
            raise OperatorError("functions do not run on Windows: start the worker in WSL")
        self._slots = [
            self._background.run(f"function process {n}", self._keep_running())
            for n in range(self._count)
        ]
        try:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._failure is not None or len(self._ready) == self._count
                )
        except BaseException:
            await self.__aexit__()
            raise
        if self._failure is not None:
            await self.__aexit__()
            raise OperatorError(str(self._failure))
        return self

    async def __aexit__(self, *error: object) -> None:
        await cancel_and_wait(self._slots)
        await asyncio.gather(*(process.stop() for process in self._processes))

    def reload(self) -> None:
        """Load the application again in new processes; the old ones finish their runs."""
        self._wake.set()
        for process in self._processes:  # also those that have begun to load it
            process.mark_unready()

    async def start_run(self, function: str, request: FunctionRequest) -> ProcessRun:
        """Start a run in the process with the fewest runs. Wait while there is none.

        Raise UpstreamError when the application cannot be loaded.
        """
        process = await self._find_process()
        run = process.start_run(function, request)
        if self._one_run_each:
            process.mark_unready()
        return run

    async def start_guard(self, upstream: str, context: GuardContext) -> GuardRun:
        """Start the guard of an upstream for one answer, as `start_run` does."""
        return (await self._find_process()).start_guard(upstream, context)

    async def _find_process(self) -> FunctionProcess:
        async with self._changed:
            await self._changed.wait_for(lambda: self._usable() or self._failure is not None)
        processes = self._usable()
        if not processes:
            raise UpstreamError(
                "producer_error", "the application cannot be loaded", retryable=True
            ) from self._failure
        return min(processes, key=len)

    def _usable(self) -> list[FunctionProcess]:
        return [each for each in self._ready if not each.is_lost and not each.is_unready]

    async def _keep_running(self) -> None:
        """Keep one process running, until cancelled."""
        delay = _MIN_RESTART_DELAY_SECONDS
        while True:
            process = self._new_process()
            self._processes.add(process)
            try:
                self.options = await self._start(process)
            except NoLongerNeeded:
                self._background.run("stop process", self._stop(process))
                continue
            except CannotLoadFunctions as error:
                _log.error("producer.not_loaded", reason=str(error))
                self._background.run("stop process", self._stop(process))
                await self._set_failure(error)
                await self._sleep(delay)
                delay = min(_MAX_RESTART_DELAY_SECONDS, delay * 2)
                continue
            delay = _MIN_RESTART_DELAY_SECONDS
            self._ready.append(process)
            functions = sorted(self.options)
            guards = {"guards": process.guards} if process.guards else {}
            _log.info("producer.process_started", pid=process.pid, functions=functions, **guards)
            await self._set_failure(None)
            await process.wait_unusable()
            self._ready.remove(process)
            self._background.run("end process", self._stop_when_idle(process))

    async def _start(self, process: FunctionProcess) -> Mapping[str, FunctionOptions]:
        """Start a process, and log when it loads the functions for a long time."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_SLOW_START_SECONDS, self._log_slow_start, process)
        try:
            return await process.start()
        finally:
            timer.cancel()

    def _log_slow_start(self, process: FunctionProcess) -> None:
        _log.warning(
            "producer.load_slow",
            pid=process.pid,
            seconds=_SLOW_START_SECONDS,
            advice="an import or the lifespan of the app has not ended yet; no run begins before",
        )

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not past a call of `reload`."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _stop_when_idle(self, process: FunctionProcess) -> None:
        await process.wait_idle()
        await self._stop(process)

    async def _stop(self, process: FunctionProcess) -> None:
        await process.stop()
        self._processes.discard(process)

    async def _set_failure(self, failure: CannotLoadFunctions | None) -> None:
        async with self._changed:
            self._failure = failure
            self._changed.notify_all()
