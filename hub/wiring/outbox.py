"""The consumer of the PostgreSQL outbox, if the settings name a database.

Only this module and the commands import hub.outbox, which needs the extra `outbox`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from hub.engine.metrics.outbox_metrics import OutboxMetrics
from hub.engine.tasks import Supervisor, SystemClock
from hub.errors import OperatorError
from hub.http.applications import build_worker
from hub.http.server import ListenAddress, listen
from hub.inbox.expiry import ItemExpiry
from hub.metrics import render_prometheus
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.settings import Settings
from hub.wiring.applications import publish_limits
from hub.wiring.backend import build_publisher, open_backend
from hub.wiring.shutdown import Shutdown

if TYPE_CHECKING:
    from hub.outbox.connection import DatabaseAddress
    from hub.outbox.consumer import OutboxConsumer
    from hub.outbox.schema import TableNames

_STOP_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class Outbox:
    """The consumer of a process, None if no database is set, and the items that it publishes."""

    def __init__(self, consumer: OutboxConsumer | None, expiry: ItemExpiry) -> None:
        self._consumer = consumer
        self._expiry = expiry

    @asynccontextmanager
    async def running(self, clock: Clock) -> AsyncIterator[None]:
        """Run the consumer. In the end, it finishes its batch, and other consumers take over."""
        if self._consumer is None:
            yield
            return
        async with Supervisor(clock) as tasks:
            tasks.start("outbox", self._consumer.run)
            tasks.start("expiry of items", self._expiry.run)
            yield
            await self._consumer.stop(_STOP_SECONDS)


def check_installed(settings: Settings) -> None:
    """Raise OperatorError when there is no database in the settings, or asyncpg is missing."""
    if settings.outbox.dsn is None:
        raise OperatorError(
            "set outbox.dsn (HUB_OUTBOX__DSN), the URL of the database with the outbox: "
            "postgresql://user@host/database"
        )
    try:
        import asyncpg  # noqa: F401 - the one package of the extra
    except ImportError as error:
        raise OperatorError(
            f"outbox.dsn needs asyncpg, which cannot be used here ({error}): install "
            "ssehub[outbox] (docs/guides/outbox.md)"
        ) from error


def build_outbox(
    settings: Settings, backend: Backend, clock: Clock, metrics: OutboxMetrics
) -> Outbox:
    """Build the consumer, if the settings name a database. Raise OperatorError."""
    expiry = ItemExpiry(backend.inboxes, clock)
    if settings.outbox.dsn is None:
        return Outbox(None, expiry)
    check_installed(settings)
    from hub.outbox.consumer import OutboxConsumer, OutboxOptions

    outbox = settings.outbox
    consumer = OutboxConsumer(
        database_address(settings),
        table_names(settings),
        build_publisher(settings, backend.events, expiry=expiry),
        limits=publish_limits(settings),
        options=OutboxOptions(
            partitions=outbox.partitions,
            batch_size=outbox.batch_size,
            poll_seconds=outbox.poll_seconds,
            dedupe_seconds=outbox.dedupe_seconds,
        ),
        metrics=metrics,
    )
    return Outbox(consumer, expiry)


def database_address(settings: Settings) -> DatabaseAddress:
    """Return the address of the database."""
    from hub.outbox.connection import DatabaseAddress

    outbox = settings.outbox
    return DatabaseAddress(
        dsn=outbox.dsn or "",
        shown=outbox.shown_dsn,
        password_file=outbox.password_file,
        application=f"hub outbox {settings.node.name}",
    )


def table_names(settings: Settings) -> TableNames:
    """Return the names of the tables."""
    from hub.outbox.schema import TableNames

    return TableNames(settings.outbox.table_schema, settings.outbox.table)


async def run_outbox(settings: Settings, stop: Shutdown) -> None:
    """Run a consumer until `stop` is requested; with `worker.port`, serve its probes and metrics.

    Raise OperatorError, DatabaseUnavailable or BrokerUnavailable if it cannot begin.
    """
    check_installed(settings)
    from hub.outbox.session import open_session

    async with AsyncExitStack() as opened:
        backend = await opened.enter_async_context(open_backend(settings, ()))
        metrics = OutboxMetrics()
        outbox = build_outbox(settings, backend, SystemClock(), metrics)
        async with open_session(
            database_address(settings), table_names(settings), partitions=1
        ) as session:
            await session.backlog()
        if settings.worker.port is not None:
            app = build_worker(
                backend.health.check_writable,
                lambda: "draining" if stop.requested.is_set() else "running",
                lambda: render_prometheus({"": metrics.families()}),
            )
            address = ListenAddress(settings.worker.host, settings.worker.port, "worker.port")
            await opened.enter_async_context(listen(app, address, cancel_handlers=False))
        async with outbox.running(SystemClock()):
            _log.info("outbox.started", database=settings.outbox.shown_dsn)
            await stop.requested.wait()
