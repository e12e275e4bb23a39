"""Recovery: read the log from a client's position until the client is live.

subscribe and wait for the acknowledgement → read the log from the cursor → `hub.open`, resets,
replay → live.

Rules:
1. The connection buffers the events that are published meanwhile, so that none is sent twice or out
   of order.
2. A gap is always closed by reading the log.
3. At most one task reads the log for a connection.
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
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.streams.broadcast import abort_connection
from hub.engine.streams.connection import Connection
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.errors import BrokerUnavailable
from hub.ports.clock import Clock
from hub.ports.events import FROM_START, EventReader, Page, Subscriptions

_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 64 * 1024
_MAX_CONCURRENT_READS: Final = 64  # the others wait here, where no timeout runs
_MIN_RETRY_SECONDS: Final = 0.1
_MAX_RETRY_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class Recovery:
    """The tasks that read the log. A connection gets heartbeats as soon as it has its first event.

    joins_per_second: how many connections may join in one second; the others wait with an open
    stream. None means no limit.
    """

    def __init__(
        self,
        events: EventReader,
        subscriptions: Subscriptions,
        wheel: HeartbeatWheel,
        clock: Clock,
        metrics: NodeMetrics,
        *,
        node: str,
        heartbeat_seconds: float,
        joins_per_second: float | None,
    ) -> None:
        self._events = events
        self._subscriptions = subscriptions
        self._wheel = wheel
        self._clock = clock
        self._metrics = metrics
        self._node = node
        self._heartbeat_seconds = heartbeat_seconds
        self._rate_limit = None if joins_per_second is None else LeakyBucket(joins_per_second)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    def __len__(self) -> int:
        """Return the number of connections that join or read the log."""
        return len(self._tasks)

    def start(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        """Start the task of a new connection. cursor: as in Connections.attach."""
        self._run_task(connection, partial(self._recover_new, connection, cursor))

    def add_channels(self, connection: Connection, new_channels: Collection[Channel]) -> None:
        """Start the task of a connection whose channels were replaced; the new ones begin live."""
        self._run_task(connection, partial(self._recover_added, connection, new_channels))

    def fill_gap(self, connection: Connection) -> None:
        """Start to close a gap, or let the task that is running close it."""
        if connection.is_buffering:
            connection.mark_gap()
            return
        connection.buffer_live()
        self._run_task(connection, partial(self._replay_until_live, connection, None))

    async def wait_live(self, connection: Connection) -> None:
        """Wait until the connection is live and its task is done, or it has ended."""
        while (task := self._tasks.get(connection)) is not None:
            await asyncio.wait([task])

    def cancel(self, connection: Connection) -> None:
        """Cancel the task of a connection that has ended."""
        task = self._tasks.pop(connection, None)
        if task is not None:
            task.cancel()

    def _run_task(self, connection: Connection, recover: Callable[[], Awaitable[None]]) -> None:
        if self._loop is None:  # each look for the loop is a system call in Python 3.11
            self._loop = asyncio.get_running_loop()
        self._tasks[connection] = self._loop.create_task(
            self._recover(connection, recover), name=f"recovery {connection.id}"
        )

    async def _recover(
        self, connection: Connection, recover: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            await recover()
        except ConnectionError:
            pass  # the client has disconnected
        except Exception:  # noqa: BLE001 - no other code awaits this task
            abort_connection(connection)
        finally:
            self._tasks.pop(connection, None)

    async def _recover_new(
        self, connection: Connection, cursor: Mapping[Channel, Position]
    ) -> None:
        try:
            await self._open(connection, cursor)
        except BrokerUnavailable as error:
            _log.warning("connection.join_failed", connection=connection.id, error=str(error))
            connection.close(CloseReason.BROKER_AWAY)

    async def _open(self, connection: Connection, cursor: Mapping[Channel, Position]) -> None:
        """Subscribe, read the first pages, send the first event, and replay."""
        if self._rate_limit is not None and (delay := self._rate_limit.delay(self._clock.now())):
            await self._clock.sleep(delay)
        async with self._slots:
            await self._subscriptions.subscribe(connection.channels)
            pages = await self._read({c: cursor.get(c) for c in connection.channels})
        recovered, replayed = bool(cursor), 0
        for channel, page in pages.items():
            start = _start_position(cursor.get(channel), page)
            if cursor.get(channel) in (None, FROM_START):
                connection.skip_to(channel, start)
            else:
                connection.set_position(channel, start)
            if page.reset_reason is None:
                replayed += page.head.offset - start.offset
            else:
                recovered = False
        connection.send_open(
            node=self._node,
            heartbeat_seconds=connection.heartbeat_seconds or self._heartbeat_seconds,
            recovered=recovered,
            replayed=replayed,
        )
        if connection.close_reason is not None:
            return  # the first frames were the whole stream, as of a generation that had ended
        self._wheel.add(connection)
        await self._replay_until_live(connection, pages)

    async def _recover_added(
        self, connection: Connection, new_channels: Collection[Channel]
    ) -> None:
        """Subscribe to the new channels, however long the broker is away, and go live in them."""
        delay = _MIN_RETRY_SECONDS
        while new_channels and connection.close_reason is None:
            try:
                async with self._slots:
                    await self._subscriptions.subscribe(new_channels)
                    pages = await self._read(dict.fromkeys(new_channels))
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.id, error=str(error))
                await self._clock.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(_MAX_RETRY_SECONDS, delay * 2)
            else:
                for channel, page in pages.items():
                    connection.skip_to(channel, page.head)
                break
        await self._replay_until_live(connection, None)

    async def _replay_until_live(
        self, connection: Connection, pages: Mapping[Channel, Page] | None
    ) -> None:
        """Read the log from the client's position until nothing is missing.

        pages: the first pages, if they have been read. While the broker is away the connection
        stays open, and the replay continues when it is back.
        """
        delay = _MIN_RETRY_SECONDS
        while connection.close_reason is None:
            try:
                await self._replay_pages(
                    connection, pages or await self._read_next_pages(connection.positions)
                )
                return
            except BrokerUnavailable as error:
                _log.info("connection.waits", connection=connection.id, error=str(error))
            pages = None
            await self._clock.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(_MAX_RETRY_SECONDS, delay * 2)

    async def _replay_pages(self, connection: Connection, pages: Mapping[Channel, Page]) -> None:
        """Replay these pages and the next ones, no faster than the client, until it is live."""
        while True:
            for channel, page in pages.items():
                if page.reset_reason is not None:
                    self._metrics.resets[page.reset_reason] += 1
                    connection.send_reset(channel, page.head, page.reset_reason)
                else:
                    before = connection.events if page.events else 0
                    await connection.replay(page.events, page.end, channel)
                    if page.events:
                        self._metrics.replayed.add(connection.events - before)
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
    """Return a connection's position before the page is replayed.

    A cursor that the log cannot continue stays as it is: only `hub.reset` moves it. Otherwise a
    client that is cut off before the reset would never learn of the gap.
    """
    if after is None:
        return page.head
    if after == FROM_START:
        first = page.events[0].position if page.events else None
        return Position(page.head.epoch, first.offset - 1) if first else page.head
    return after
