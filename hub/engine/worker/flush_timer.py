"""Ends the flush delays of the answers of a worker together.

Each publish of a worker is one call to the broker, however many answers have something to publish
in the same iteration of the loop. So answers that publish together cost much less than answers that
publish one after the other, and one timer serves all of them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hub.engine.tasks import BackgroundTasks
from hub.ports.clock import Clock

_TICKS_PER_INTERVAL: Final = 5


class FlushTimer:
    """Flush delays that end only at ticks, which are the same for all answers.

    flush_seconds: the interval between two publishes of an answer; there are five ticks in it.
    """

    def __init__(self, clock: Clock, flush_seconds: float) -> None:
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._tick_seconds = flush_seconds / _TICKS_PER_INTERVAL
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}  # by the number of the tick
        self._background_tasks = BackgroundTasks()

    async def wait(self, since: float) -> None:
        """Return at the last tick of the interval that began at a time of the clock.

        Return at once when this tick is over, or without an interval.
        """
        if not self._flush_seconds:
            return
        tick = int((since + self._flush_seconds) / self._tick_seconds)
        if tick * self._tick_seconds <= self._clock.now():
            return
        waiting = self._waiting.get(tick)
        if waiting is None:
            waiting = self._waiting[tick] = []
            self._background_tasks.run("flush", self._end(tick))
        future = asyncio.get_running_loop().create_future()
        waiting.append(future)
        await future

    async def _end(self, tick: int) -> None:
        await self._clock.sleep(tick * self._tick_seconds - self._clock.now())
        for future in self._waiting.pop(tick):
            if not future.done():  # a stop request has cancelled it
                future.set_result(None)
