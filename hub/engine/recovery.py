"""What connections read of the log: from where the client stands until it is live.

subscribe and wait for the acknowledgement → read the log from the cursor → `hub.open`, resets,
replay → live. What is published meanwhile is held by the connection, so that nothing is handed over
twice or early. A gap is always closed by reading the log; one task at a time does so for a
connection.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Final

import structlog

from hub.core.channel import Channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import Position
from hub.core.rate_limit import LeakyBucket
from hub.engine.broadcast import abort_connection
from hub.engine.connection import Connection
from hub.engine.heartbeat import HeartbeatWheel
from hub.engine.node_metrics import NodeMetrics
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import FROM_START, EventReader, Page, Subscriptions

_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 64 * 1024
_MAX_CONCURRENT_READS: Final = 64  # at once: the others wait here, where no time-out runs
_MIN_RETRY_SECONDS: Final = 0.1
_MAX_RETRY_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class Recovery:
    """The tasks that read. Each connection that has begun here gets heartbeats, once it has said
    `hub.open`. joins_per_second: more wait for their turn, with their stream open.
    """

    def __init__(
        self,
        events: EventReader,
        subscriptions: Subscriptions,
        wheel: HeartbeatWheel,
        clock: Clock,
        counts: NodeMetrics,
        *,
        node: str,
        heartbeat_seconds: float,
        joins_per_second: float | None,
    ) -> None:
        self._events = events
        self._subscriptions = subscriptions
        self._wheel = wheel
        self._clock = clock
        self._counts = counts
        self._node = node
        self._heartbeat_seconds = heartbeat_seconds
        self._rate_limit = None if joins_per_second is None else LeakyBucket(joins_per_second)
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    def __len__(self) -> int:
        """How many join, or read the log."""
        return len(self._tasks)

    def start(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        """Begins a connection; the cursor as in Fanout.begin."""
        self._run_task(connection, partial(self._recover_new, connection, cursor))

    def add_channels(self, connection: Connection, new_channels: Collection[Channel]) -> None:
        """It has been turned to other channels, those fresh among them begin live."""
        self._run_task(connection, partial(self._recover_added, connection, new_channels))

    def fill_gap(self, connection: Connection) -> None:
        """Begins to close a gap, unless that is under way."""
        if connection.is_buffering:
            connection.mark_gap()
            return
        connection.buffer_live()
        self._run_task(connection, partial(self._replay_until_live, connection, None))

    async def wait_live(self, connection: Connection) -> None:
        """Returns when it has joined and reads nothing of the log any more, or has ended."""
        while (task := self._tasks.get(connection)) is not None:
            await asyncio.wait([task])

    def cancel(self, connection: Connection) -> None:
        """It has ended."""
        task = self._tasks.pop(connection, None)
        if task is not None:
            task.cancel()

    def _run_task(self, connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
        """The one task that reads the log for the connection, until it is live."""
        self._tasks[connection] = asyncio.create_task(
            self._recover(connection, work), name=f"catch-up {connection.id}"
        )

    async def _recover(self, connection: Connection, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ConnectionError:
            pass  # the client has left
        except Exception:  # noqa: BLE001 - nobody waits for this task
            abort_connection(connection)
        finally:
            self._tasks.pop(connection, None)

    async def _recover_new(
        self, connection: Connection, cursor: Mapping[Channel, Position]
    ) -> None:
        try:
            await self._send_open(connection, cursor)
        except BrokerUnavailable as error:
            _log.warning("connection.join_failed", connection=connection.id, error=str(error))
            connection.close(CloseReason.BROKER_AWAY)

    async def _send_open(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        if self._rate_limit is not None and (wait := self._rate_limit.delay(self._clock.now())):
            await self._clock.sleep(wait)
        async with self._slots:
            await self._subscriptions.subscribe(connection.channels)
            pages = await self._read({c: cursor.get(c) for c in connection.channels})
        for channel, page in pages.items():
            connection.set_position(channel, _start_position(cursor.get(channel), page))
        connection.send_open(
            node=self._node,
            heartbeat_seconds=self._heartbeat_seconds,
            recovered=bool(cursor) and all(page.reset_reason is None for page in pages.values()),
            replayed=sum(
                page.head.offset - connection.positions[channel].offset
                for channel, page in pages.items()
                if page.reset_reason is None
            ),
        )
        if connection.close_reason is not None:
            return  # an answer that had ended is shown in one go
        self._wheel.add(connection)
        await self._replay_until_live(connection, pages)

    async def _recover_added(self, connection: Connection, fresh: Collection[Channel]) -> None:
        """Live in channels that are new to it, however long the broker is away."""
        pause = _MIN_RETRY_SECONDS
        while fresh and connection.close_reason is None:
            try:
                async with self._slots:
                    await self._subscriptions.subscribe(fresh)
                    pages = await self._read(dict.fromkeys(fresh))
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.id, error=str(error))
                await self._clock.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(_MAX_RETRY_SECONDS, pause * 2)
            else:
                for channel, page in pages.items():
                    connection.set_position(channel, page.head)
                break
        await self._replay_until_live(connection, None)

    async def _replay_until_live(
        self, connection: Connection, pages: Mapping[Channel, Page] | None
    ) -> None:
        """Reads the log from where the client stands until nothing is missing; the first pages may
        have been read. While the broker is away the client stays, and it goes on afterwards.
        """
        pause = _MIN_RETRY_SECONDS
        while connection.close_reason is None:
            try:
                await self._replay_pages(
                    connection, pages or await self._read_next_pages(connection.positions)
                )
                return
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.id, error=str(error))
            pages = None
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_MAX_RETRY_SECONDS, pause * 2)

    async def _replay_pages(self, connection: Connection, pages: Mapping[Channel, Page]) -> None:
        """Hands the pages over and reads on, no faster than the client, until it is live."""
        while True:
            for channel, page in pages.items():
                if page.reset_reason is not None:
                    self._counts.resets[page.reset_reason] += 1
                    connection.send_reset(channel, page.head, page.reset_reason)
                else:
                    before = connection.events
                    await connection.replay(page.events, page.end, channel)
                    self._counts.replayed.add(connection.events - before)
            unread = {c: page.end for c, page in pages.items() if page.end != page.head}
            if not unread and (connection.close_reason is not None or connection.flush_buffered()):
                connection.enter_sync()
                return
            await connection.wait_writable()
            pages = await self._read_next_pages(unread or connection.positions)

    async def _read_next_pages(self, after: Mapping[Channel, Position]) -> Mapping[Channel, Page]:
        async with self._slots:
            return await self._read(dict(after))

    async def _read(self, after: Mapping[Channel, Position | None]) -> Mapping[Channel, Page]:
        return await self._events.read(after, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES)


def _start_position(after: Position | None, page: Page) -> Position:
    """Where a connection stands before the page is handed over. A cursor that the log cannot
    continue stays as it is: `hub.reset` alone moves it on, or who is cut off before that would
    never be told.
    """
    if after is None:
        return page.head
    if after == FROM_START:
        before = page.events[0].position if page.events else None
        return Position(page.head.epoch, before.offset - 1) if before else page.head
    return after
