"""A function of the application as a guard. It runs in a child process (functions/pool.py)."""

from __future__ import annotations

from typing import Final

from hub.core.verdicts import GuardContext, TextWindow, Verdict
from hub.engine.worker.guard_run import GuardRun
from hub.errors import GuardFailed, ProducerLost, UpstreamError
from hub.ports.guards import GuardSession
from hub.upstreams.functions.pool import FunctionPool

_MAX_CALLS: Final = 2  # of one check: a check may be repeated


class FunctionGuard:
    """Implements ports.guards.Guard. upstream: the one whose answers are checked."""

    def __init__(self, upstream: str, pool: FunctionPool) -> None:
        self._upstream = upstream
        self._pool = pool

    def open(self, context: GuardContext) -> GuardSession:
        """See ports.guards.Guard."""
        return _FunctionGuardSession(self._upstream, self._pool, context)


class _FunctionGuardSession:
    """The checks of one answer. If their process is lost, another one goes on."""

    def __init__(self, upstream: str, pool: FunctionPool, context: GuardContext) -> None:
        self._upstream = upstream
        self._pool = pool
        self._context = context
        self._run: GuardRun | None = None

    async def check(self, window: TextWindow) -> Verdict:
        """See ports.guards.GuardSession."""
        for _ in range(_MAX_CALLS):
            try:
                if self._run is None:
                    self._run = await self._pool.start_guard(self._upstream, self._context)
                return await self._run.check(window)
            except ProducerLost:
                self._run = None
            except UpstreamError as error:  # of the pool
                raise GuardFailed(error.message) from error
        raise GuardFailed("the process of the guard was lost")

    def close(self) -> None:
        """See ports.guards.GuardSession."""
        if self._run is not None:
            self._run.close()
