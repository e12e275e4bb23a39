"""The consumer of the outbox: reads rows, publishes them, and deletes them afterwards.

Rules:
1. A row is deleted, or set aside, only after the broker has acknowledged or refused its publish.
   Its id is the idempotency key, so a publish that is repeated changes nothing.
2. What was visible in one snapshot of the database is published before what became visible later.
   In one snapshot, rows are published in the order of their inserts. So the order of a recipient is
   the order in which the consumer sees transactions.
3. The rows of one recipient that are published at the same time are in one call, which is written
   as a whole or not at all. After a call that the broker did not acknowledge, nothing is published
   before the same rows are read again.
4. Nothing is published by a session that is known to be lost. It may have one call in flight when
   it is lost; the consumer that follows repeats that call, in the same order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from hub.api.publish_requests import PublishLimits
from hub.core.channel import Channel
from hub.engine.metrics.outbox_metrics import OutboxMetrics
from hub.engine.publisher import Publisher, PublishRequest
from hub.error_codes import INVALID_REQUEST
from hub.errors import (
    BadRequest,
    CallerError,
    DatabaseUnavailable,
    DependencyError,
    HubError,
    OperatorError,
    TooManyRequests,
)
from hub.outbox.connection import DatabaseAddress
from hub.outbox.rows import OutboxRow, Refusal, publish_request, refusal
from hub.outbox.schema import TableNames
from hub.outbox.session import OutboxSession, Page, PageLimits, open_session
from hub.ports.events import Outcome, Published

ROWS_PER_CALL: Final = 64  # the backend writes as many events in one call
_MIN_DELAY_SECONDS: Final = 0.1
_MAX_DELAY_SECONDS: Final = 5.0
_STATUS_SECONDS: Final = 15.0
_MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
_log = structlog.get_logger(__name__)


class OutboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """partitions: how many there are. batch_size: rows that are read and deleted together.
    poll_seconds: how long a row may wait if its notification is lost. dedupe_seconds: how long the
    ids of published rows are remembered.
    """

    partitions: int
    batch_size: int
    poll_seconds: float
    dedupe_seconds: float


class OutboxConsumer:
    """Publishes the rows of one table; see the rules above. `run` works until `stop`."""

    def __init__(
        self,
        address: DatabaseAddress,
        names: TableNames,
        publisher: Publisher,
        *,
        limits: PublishLimits,
        options: OutboxOptions,
        metrics: OutboxMetrics,
    ) -> None:
        self._address = address
        self._names = names
        self._publisher = publisher
        self._limits = limits
        self._options = options
        self.metrics = metrics
        self._page_limits = PageLimits(
            max_rows=options.batch_size,
            max_bytes=_MAX_PAGE_BYTES,
            max_row_bytes=limits.max_body_bytes,
        )
        self._session: OutboxSession | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._status_at = 0.0
        self._gauges = dict.fromkeys(("backlog", "oldest", "refused"), 0.0)
        metrics.connected.set_function(lambda: int(self.is_connected))
        metrics.partitions.set_function(lambda: len(self.partitions))
        metrics.backlog.set_function(lambda: self._gauges["backlog"])
        metrics.oldest_seconds.set_function(lambda: self._gauges["oldest"])
        metrics.refused_rows.set_function(lambda: self._gauges["refused"])

    @property
    def is_connected(self) -> bool:
        """Whether it has a session in the database, as far as it knows."""
        return self._session is not None and self._session.is_open

    @property
    def partitions(self) -> list[int]:
        """The partitions that it reads."""
        return sorted(self._session.owned) if self._session is not None else []

    async def run(self) -> None:
        """Publish until `stop`, and connect again whenever the database was away; then wait until
        the task is cancelled.
        """
        delay, loop = _MIN_DELAY_SECONDS, asyncio.get_running_loop()
        while not self._stopping.is_set():
            started_at = loop.time()
            try:
                async with open_session(
                    self._address, self._names, partitions=self._options.partitions
                ) as session:
                    _log.info("outbox.connected", table=self._names.rows)
                    self._session = session
                    await self._consume(session)
            except (OperatorError, DependencyError) as error:
                self.metrics.retries["database"] += 1
                level = _log.error if isinstance(error, OperatorError) else _log.warning
                level("outbox.disconnected", error=str(error))
                if loop.time() - started_at > _MAX_DELAY_SECONDS:
                    delay = _MIN_DELAY_SECONDS
                await self._pause(delay)
                delay = min(_MAX_DELAY_SECONDS, delay * 2)
            finally:
                self._session = None
        self._stopped.set()
        await loop.create_future()

    async def stop(self, timeout: float) -> None:
        """Finish the batch that is being published, and give the partitions to other consumers.

        timeout: in seconds; afterwards, the task should be cancelled.
        """
        self._stopping.set()
        if self._session is not None:
            self._session.woken.set()
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            _log.warning("outbox.stop_timed_out")

    async def _consume(self, session: OutboxSession) -> None:
        snapshot: str | None = None
        delay = _MIN_DELAY_SECONDS
        loop = asyncio.get_running_loop()
        claim_at = 0.0
        while not self._stopping.is_set():
            session.woken.clear()
            if session.may_claim or loop.time() >= claim_at:
                claim_at = loop.time() + self._options.poll_seconds
                if await session.claim():
                    _log.info("outbox.partitions", partitions=sorted(session.owned))
            await self._read_status(session)
            page = await session.read(snapshot, self._page_limits)
            if not page.rows and snapshot is None:
                await self._wait(session)
                continue
            failure = await self._publish(session, page)
            if failure is not None:
                _log.warning("outbox.waits_for_broker", error=str(failure))
                self.metrics.retries["broker"] += 1
                await self._pause(delay)
                delay = min(_MAX_DELAY_SECONDS, delay * 2)
            else:
                delay = _MIN_DELAY_SECONDS
            has_more = page.is_full or failure is not None
            snapshot = (snapshot or page.snapshot) if has_more else None
        await session.release()
        _log.info("outbox.stopped")

    async def _publish(
        self, session: OutboxSession, page: Page
    ) -> DependencyError | CallerError | None:
        """Publish a page and complete its rows. Return why the broker did not take all of them."""
        published: list[int] = []
        refused: list[Refusal] = []
        failure: DependencyError | CallerError | None = None
        for first in range(0, len(page.rows), ROWS_PER_CALL):
            if not session.is_open:
                raise DatabaseUnavailable("the connection to PostgreSQL was lost")
            rows = page.rows[first : first + ROWS_PER_CALL]
            failure = await self._publish_call(rows, published, refused)
            if failure is not None:
                break
        kept = await session.complete(published, refused)
        refused = [each for each in refused if each.number not in kept]
        for each in refused:
            _log.warning("outbox.refused", number=each.number, code=each.code)
        self.metrics.rows["refused"] += len(refused)
        return failure

    async def _publish_call(
        self, rows: Sequence[OutboxRow], published: list[int], refused: list[Refusal]
    ) -> DependencyError | CallerError | None:
        """Publish rows with one call, and add their numbers to the results. Return its failure."""
        requests: list[PublishRequest] = []
        requested: list[OutboxRow] = []
        for row in rows:
            parsed = self._parse(row)
            if isinstance(parsed, CallerError):
                refused.append(refusal(row, parsed))
            else:
                requests.append(parsed)
                requested.append(row)
        failure: DependencyError | CallerError | None = None
        results = await self._publisher.try_publish(requests) if requests else []
        for row, result in zip(requested, results, strict=True):
            match result:
                case DependencyError() | TooManyRequests():
                    failure = result
                case CallerError():
                    refused.append(refusal(row, result))
                case HubError():
                    raise result
                case _:
                    published.append(row.number)
                    self._count(row, result)
        return failure

    def _parse(self, row: OutboxRow) -> PublishRequest | CallerError:
        try:
            return publish_request(row, self._limits, dedupe_seconds=self._options.dedupe_seconds)
        except CallerError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one row must not block all others
            _log.exception("outbox.row_failed", number=row.number)
            return BadRequest(f"the hub failed: {type(error).__name__}", code=INVALID_REQUEST)

    def _count(self, row: OutboxRow, result: Sequence[tuple[Channel, Published]]) -> None:
        outcomes = Counter(published.outcome for _, published in result)
        is_duplicate = outcomes[Outcome.DUPLICATE] == len(result)
        self.metrics.rows["duplicate" if is_duplicate else "published"] += 1
        self.metrics.delay_seconds.observe(row.delay_seconds)

    async def _read_status(self, session: OutboxSession) -> None:
        """Read the numbers of the gauges now and then."""
        now = asyncio.get_running_loop().time()
        if now < self._status_at:
            return
        self._status_at = now + _STATUS_SECONDS
        backlog = await session.backlog()
        self._gauges["backlog"] = backlog.rows
        self._gauges["oldest"] = backlog.oldest_seconds or 0.0
        self._gauges["refused"] = backlog.refused

    async def _wait(self, session: OutboxSession) -> None:
        """Return when there may be rows: after a notification, or at the next poll."""
        try:
            async with asyncio.timeout(self._options.poll_seconds):
                await session.woken.wait()
        except TimeoutError:
            pass

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the consumer is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
