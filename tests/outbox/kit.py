"""An outbox in a real database, and consumers of it that publish into a backend in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from hub.api.publish_requests import PublishLimits
from hub.core.channel import Channel
from hub.engine.metrics.outbox_metrics import OutboxMetrics
from hub.engine.publisher import Publisher
from hub.engine.tasks import Supervisor, SystemClock
from hub.outbox.connection import DatabaseAddress
from hub.outbox.consumer import OutboxConsumer, OutboxOptions
from hub.outbox.inspection import Inspection
from hub.outbox.schema import TableNames
from hub.ports.events import FROM_START
from hub.testing.backend import MemoryBackend

LIMITS = PublishLimits(max_body_bytes=2000, max_recipients=10)
DAY = 86_400.0


class Outbox:
    """The outbox of one database. `connection` is one of the application."""

    def __init__(self, url: str, names: TableNames, connection: Any) -> None:
        self.url = url
        self.names = names
        self.connection = connection
        self.backend = MemoryBackend(max_events=100_000)
        self.inspection = Inspection(connection, names)
        self._running = Supervisor(SystemClock())
        self.started = 0

    def address(self, name: str = "test") -> DatabaseAddress:
        """Return the address of the database."""
        return DatabaseAddress(dsn=self.url, shown="the test database", application=name)

    def consumer(
        self, *, backend: Any = None, publisher: Any = None, **options: Any
    ) -> OutboxConsumer:
        """Return a consumer that does not run yet."""
        defaults = {
            "partitions": 4, "batch_size": 100, "poll_seconds": 30.0, "dedupe_seconds": DAY,
        }  # fmt: skip
        return OutboxConsumer(
            self.address(f"consumer {self.started}"),
            self.names,
            publisher or Publisher((backend or self.backend).events, max_data_bytes=1000),
            limits=LIMITS,
            options=OutboxOptions(**{**defaults, **options}),
            metrics=OutboxMetrics(),
        )

    def start(self, consumer: OutboxConsumer | None = None, **options: Any) -> OutboxConsumer:
        """Run a consumer until the end of the test, or until `end`."""
        consumer = consumer or self.consumer(**options)
        self._running.start(f"outbox {self.started}", consumer.run)
        self.started += 1
        return consumer

    async def end(self, number: int = 0) -> None:
        """Cancel a consumer, as a process that is killed ends. number: in the order of starts."""
        await self._running.end(f"outbox {number}")

    async def kill_sessions(self) -> None:
        """End the sessions of all consumers, as PostgreSQL does when it restarts."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def close(self) -> None:
        """End all consumers, and wait until their sessions have given their locks back."""
        await self._running.__aexit__(None, None, None)
        async with asyncio.timeout(60):
            while await self.inspection.consumers():
                await asyncio.sleep(0.005)

    async def insert(self, recipient: str, data: Any, **columns: Any) -> str:
        """Insert a row in a transaction of its own, and return its id."""
        return await insert(self.connection, recipient, data, **columns)

    async def drained(self) -> None:
        """Return when no row waits."""
        async with asyncio.timeout(60):
            while await self.connection.fetchval(f"SELECT count(*) FROM {self.names.rows}"):
                await asyncio.sleep(0.005)

    async def published(self, channel: str, backend: Any = None) -> list[Any]:
        """Return the data of the events in the log of a channel."""
        events = (backend or self.backend).events
        pages = await events.read({Channel(channel): FROM_START}, max_events=10**6, max_bytes=10**9)
        return [json.loads(event.data) for event in pages[Channel(channel)].events]

    async def refused(self) -> Sequence[tuple[str, str, str]]:
        """Return recipient, code and reason of the refused rows, in the order of their inserts."""
        rows = await self.connection.fetch(
            f"SELECT recipient, code, reason FROM {self.names.refused} ORDER BY number"
        )
        return [tuple(row) for row in rows]


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def insert(connection: Any, recipient: str, data: Any, **columns: Any) -> str:
    """Insert a row. columns: those beside recipient and data; `options` as a value."""
    if "options" in columns:
        columns["options"] = json.dumps(columns["options"])
    values = {"recipient": recipient, "data": json.dumps(data), **columns}
    markers = ", ".join(f"${n + 1}" for n in range(len(values)))
    inserted = await connection.fetchval(
        f"INSERT INTO hub_outbox ({', '.join(values)}) VALUES ({markers}) RETURNING id",
        *values.values(),
    )
    return str(inserted)
