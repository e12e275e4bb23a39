"""Announces the end of a lease on the control stream of its producer.

No event is published when a lease ends: its answer may begin another attempt much later. So each
control stream has one timer, at the time at which the lease would end without a renewal. The record
is read once then. A lease that was renewed meanwhile sets the timer again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from hub.core.close_reason import CloseReason
from hub.core.generation import Generation
from hub.engine.external.control_stream import LEASE_LOST
from hub.engine.streams.connection import Connection
from hub.engine.tasks import BackgroundTasks
from hub.errors import DependencyError

_RETRY_SECONDS: Final = 1.0  # after a read that failed
_log = structlog.get_logger(__name__)


class LeaseWatch:
    """Watches the leases of all control streams of a node. find: reads a record by its id."""

    def __init__(self, find: Callable[[str], Awaitable[Generation | None]]) -> None:
        self._find = find
        self._background_tasks = BackgroundTasks()

    def watch(self, connection: Connection, attempt: Generation) -> None:
        """Write `lease_lost` and end the connection when the lease of the attempt has ended.

        attempt: the record of the answer while the attempt is the newest one.
        """
        self._background_tasks.run("watch lease", self._watch(connection, attempt))

    async def _watch(self, connection: Connection, attempt: Generation) -> None:
        seconds = lease_left(attempt, attempt.writer)
        while seconds is not None and not await _closes_within(connection, seconds):
            seconds = await self._read(attempt)
            if seconds == 0:
                await connection.wait_open()
                connection.send_event(LEASE_LOST, {})
                connection.close(CloseReason.ENDED)
                return

    async def _read(self, attempt: Generation) -> float | None:
        try:
            record = await self._find(attempt.id)
        except DependencyError as error:
            _log.warning("producer.lease_unknown", generation=attempt.id, error=str(error))
            return _RETRY_SECONDS
        return lease_left(record, attempt.writer)


def lease_left(record: Generation | None, writer: str) -> float | None:
    """Return for how many seconds the lease of a writer holds without a renewal, 0 if it has ended.

    Return None when its end is not announced: the attempt is suspended, or the event of the
    answer's end ends the control stream.
    """
    if record is None:
        return 0.0
    if record.status.ended or record.stop_requested_by is not None:
        return None
    if record.external is None or record.writer != writer:
        return 0.0
    return None if record.suspended is not None else record.external.lease_left_seconds


async def _closes_within(connection: Connection, seconds: float) -> bool:
    """Return whether the connection ends within this time."""
    try:
        async with asyncio.timeout(seconds):
            await connection.wait_closed()
    except TimeoutError:
        return connection.close_reason is not None
    return True
