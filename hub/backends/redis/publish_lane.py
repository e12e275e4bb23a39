"""Collect the publications of many callers into few calls.

Everything that is published in one iteration of the loop, by any caller, is sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from hub.engine.tasks import BackgroundTasks
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication, Published

_NO_REPLY: Final = BrokerUnavailable("the broker has not answered")


class PublishBatch:
    """The publications of one caller, and their results."""

    __slots__ = ("done", "publications", "results")

    def __init__(self, publications: Sequence[Publication], done: asyncio.Future[None]) -> None:
        self.publications = publications
        self.done = done  # done when every result is there
        self.results: list[Published | BrokerUnavailable] = [_NO_REPLY] * len(publications)


class PublishLane:
    """Sends what callers publish.

    send: publishes batches and sets their results. waits: whether the next batches are sent only
        when the ones before are done; those that arrive meanwhile are sent together.
    """

    def __init__(
        self, send: Callable[[Sequence[PublishBatch]], Awaitable[None]], *, waits: bool
    ) -> None:
        self._send = send
        self._waits = waits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsent: list[PublishBatch] = []
        self._sending = 0  # number of sends that are not done
        self._background_tasks = BackgroundTasks()

    async def publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """Publish, and return the result of each publication."""
        loop = self._loop
        if loop is None:  # the loop is asked for once: each time is a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        if not self._unsent and not (self._waits and self._sending):
            loop.call_soon(self._flush)
        batch = PublishBatch(publications, loop.create_future())
        self._unsent.append(batch)
        await batch.done
        return batch.results

    def _flush(self) -> None:
        batches, self._unsent = self._unsent, []
        self._sending += 1
        self._background_tasks.run("publish", self._run(batches))

    async def _run(self, batches: Sequence[PublishBatch]) -> None:
        try:
            await self._send(batches)
        finally:
            for batch in batches:
                if not batch.done.done():  # its caller may have been cancelled
                    batch.done.set_result(None)
            self._sending -= 1
            if self._waits and self._unsent:
                self._flush()
