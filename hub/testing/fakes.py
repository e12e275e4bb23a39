"""Fakes of the ports that are not part of a backend: a clock and an upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part


async def settled() -> None:
    """Return when everything that can run without waiting has run."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeClock:
    """Implements ports.clock.Clock. Time passes only by `advance`."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass; each sleeper wakes at its time."""
        end = self._now + seconds
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self._now = max(self._now, first[0])
            if not first[1].done():
                first[1].set_result(None)
            await settled()
        self._now = end


class Gate:
    """Holds back everyone who passes while it is closed. A new gate is open."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        """Return when the gate is open."""
        if not self._open.is_set():
            self.waiting += 1
            try:
                await self._open.wait()
            finally:
                self.waiting -= 1


class ScriptedUpstream:
    """Implements ports.upstreams.Upstream by a script.

    It yields each part (a list of parts at once), raises each exception and waits at each gate.
    `requests` and `contexts` hold what it was called with, `closed` counts the streams that ended.
    """

    def __init__(self, script: Sequence[Part | list[Part] | Exception | Gate]) -> None:
        self._script = script
        self.requests: list[GenerationRequest] = []
        self.contexts: list[GenerationContext | None] = []
        self.closed = 0

    async def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        self.requests.append(request)
        self.contexts.append(context)
        try:
            for part in self._script:
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, Gate):
                    await part.passed()
                else:
                    yield part if isinstance(part, list) else [part]
        finally:
            self.closed += 1
