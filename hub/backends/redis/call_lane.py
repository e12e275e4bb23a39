"""Collect what many callers ask of the broker into few calls.

What is asked in one iteration of the loop, by any caller, is sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from hub.engine.tasks import BackgroundTasks
from hub.errors import BrokerUnavailable

_NO_REPLY: Final = BrokerUnavailable("the broker has not answered")

Item = TypeVar("Item")
Result = TypeVar("Result")


class CallBatch(Generic[Item, Result]):
    """The items of one caller, and their results."""

    __slots__ = ("done", "items", "results")

    def __init__(self, items: Sequence[Item], done: asyncio.Future[None]) -> None:
        self.items = items
        self.done = done  # done when every result is there
        self.results: list[Result | BrokerUnavailable] = [_NO_REPLY] * len(items)


class CallLane(Generic[Item, Result]):
    """Sends the items of callers.

    send: sends batches and sets their results. waits: whether the next batches are sent only when
        the ones before are done; those that arrive meanwhile are sent together. name: of the task.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[CallBatch[Item, Result]]], Awaitable[None]],
        *,
        waits: bool = False,
    ) -> None:
        self._name = name
        self._send = send
        self._waits = waits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsent: list[CallBatch[Item, Result]] = []
        self._sending = 0  # number of sends that are not done
        self._background_tasks = BackgroundTasks()

    async def call(self, items: Sequence[Item]) -> list[Result | BrokerUnavailable]:
        """Send items, and return the result of each."""
        if not items:
            return []
        loop = self._loop
        if loop is None:  # the loop is asked for once: each time is a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        if not self._unsent and not (self._waits and self._sending):
            loop.call_soon(self._flush)
        batch: CallBatch[Item, Result] = CallBatch(items, loop.create_future())
        self._unsent.append(batch)
        await batch.done
        return batch.results

    def _flush(self) -> None:
        batches, self._unsent = self._unsent, []
        self._sending += 1
        self._background_tasks.run(self._name, self._run(batches))

    async def _run(self, batches: Sequence[CallBatch[Item, Result]]) -> None:
        try:
            await self._send(batches)
        finally:
            for batch in batches:
                if not batch.done.done():  # its caller may have been cancelled
                    batch.done.set_result(None)
            self._sending -= 1
            if self._waits and self._unsent:
                self._flush()
