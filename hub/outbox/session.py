"""The session of one consumer in PostgreSQL: its locks, reads and deletes.

Rules:
1. All statements use one connection, whose session has the locks. A connection that is lost has
   lost its locks, and every later statement fails.
2. A row is read only if the session has the lock of its bucket.
3. Rows are deleted, never marked: a reader needs no position, so a row of a transaction that
   commits late is not overlooked, whatever its number is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from hub.errors import OperatorError
from hub.outbox.connection import (
    Connection,
    DatabaseAddress,
    check_session,
    connect,
    require_session,
    translated_errors,
)
from hub.outbox.inspection import AGE_SECONDS, LOCK_HOLDERS, Backlog, Inspection, check_tables
from hub.outbox.partitions import BUCKETS, fair_share, lock_base, partition_buckets
from hub.outbox.rows import OutboxRow, Refusal
from hub.outbox.schema import TableNames

_RELEASED: Final = "released"  # the payload of NOTIFY when partitions are free
_POSTPONE_SECONDS: Final = 30.0
_MOVE_TIMEOUT_SECONDS: Final = 320.0
# The worker waits for locks for about a second in all, because it publishes nothing meanwhile.
_LOCK_TIMEOUT: Final = "100ms"
_MAX_LOCK_WAITS: Final = 10
_MOVE_PARAMETERS: Final = (  # a row may have a gigabyte
    f"SET LOCAL statement_timeout = '300s'; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"
)
_CANNOT_REMOVE: Final = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_log = structlog.get_logger(__name__)


class Page(msgspec.Struct, frozen=True):
    """Rows in the order in which they are published.

    snapshot: what was visible when they were read. is_full: whether there may be more of it.
    """

    rows: Sequence[OutboxRow]
    snapshot: str
    is_full: bool


class PageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """max_rows, max_bytes: of one page; one row is always read. max_row_bytes: texts of a larger
    row are not read.
    """

    max_rows: int
    max_bytes: int
    max_row_bytes: int


class OutboxSession:
    """See open_session. partitions: how many there are. owned: those that this session reads."""

    def __init__(
        self, address: DatabaseAddress, connection: Connection, names: TableNames, partitions: int
    ) -> None:
        self._address = address
        self._connection = connection
        self._names = names
        self._partitions = partitions
        self._process_id = 0
        self._lock_base = 0
        self._postponed: dict[
            int, float
        ] = {}  # rows that could not be removed: when they are read again
        self.owned: dict[int, list[int]] = {}  # the buckets by partition
        self.woken = asyncio.Event()  # set when there may be rows or partitions, or it was lost
        self.may_claim = True  # whether there may be free partitions

    @property
    def is_open(self) -> bool:
        """Whether the session is known to have its locks."""
        return not self._connection.is_closed()

    async def start(self) -> None:
        """Check the session, listen for inserts, and become one of the consumers."""
        with translated_errors(self._address):
            self._process_id = await check_session(self._address, self._connection)
            check_tables(await Inspection(self._connection, self._names).tables())
            oid = await self._connection.fetchval(
                "SELECT $1::text::regclass::oid", self._names.rows
            )
            self._lock_base = lock_base(oid)
            self._connection.add_termination_listener(self._on_lost)
            await self._connection.add_listener(self._names.channel, self._on_notification)
            await self._connection.execute(
                "SELECT pg_advisory_lock_shared($1::bigint)", self._lock_base + BUCKETS
            )

    async def claim(self) -> bool:
        """Take free partitions, up to a fair share, and give back what is above it.

        Return whether the partitions have changed.
        """
        self.may_claim = False
        with translated_errors(self._address):
            share = fair_share(self._partitions, await self._count_consumers())
            surplus = [*self.owned][share:]
            await self._release(surplus)
            before = len(self.owned)
            for partition in range(self._partitions):
                if len(self.owned) < share and partition not in self.owned:
                    await self._claim(partition)
            return bool(surplus) or len(self.owned) > before

    async def read(self, snapshot: str | None, limits: PageLimits) -> Page:
        """Read the oldest rows of the owned partitions.

        snapshot: reads only what was visible in it; None reads what is visible now.
        """
        buckets = [bucket for owned in self.owned.values() for bucket in owned]
        now = asyncio.get_running_loop().time()
        self._postponed = {
            number: until for number, until in self._postponed.items() if until > now
        }
        with translated_errors(self._address):
            records = await self._connection.fetch(
                _READ.format(rows=self._names.rows, age=AGE_SECONDS),
                *(buckets, snapshot, limits.max_rows, limits.max_bytes, limits.max_row_bytes),
                [*self._postponed],
            )
        first = records[0]
        require_session(first["process_id"], self._process_id)
        if first["number"] is None:
            return Page((), first["snapshot"], is_full=False)
        rows = [_row(record) for record in records]
        is_full = first["candidates"] == limits.max_rows or len(rows) < first["candidates"]
        return Page(rows, first["snapshot"], is_full)

    async def complete(
        self, published: Collection[int], refused: Sequence[Refusal]
    ) -> Collection[int]:
        """Delete published rows, and set refused ones aside. Both are given by their numbers.

        A row that another session has locked stays, and is not read for half a minute. Its publish
        is then repeated, which changes nothing. Return the numbers of the rows that stay.
        """
        kept: list[int] = []
        waits, reason = 0, ""
        with translated_errors(self._address):
            removals = [(each.number, partial(self._set_aside, each)) for each in refused]
            left = await self._delete_free(published)
            removals += [(number, partial(self._delete, number)) for number in left]
            random.shuffle(removals)  # so that those behind the limit are others each time
            for number, remove in removals:
                try:
                    if waits < _MAX_LOCK_WAITS:
                        await remove()
                        continue
                except _CANNOT_REMOVE as error:
                    waits, reason = waits + 1, str(error)
                kept.append(number)
        if kept:
            _log.warning("outbox.rows_not_removed", rows=len(kept), error=reason)
        until = asyncio.get_running_loop().time() + _POSTPONE_SECONDS
        self._postponed |= dict.fromkeys(kept, until)
        return kept

    async def _delete_free(self, numbers: Collection[int]) -> list[int]:
        """Delete the rows that nobody has locked. Return those that are left."""
        if not numbers:
            return []
        try:
            records = await self._connection.fetch(
                _DELETE_FREE.format(rows=self._names.rows), numbers
            )
        except asyncpg.LockNotAvailableError:  # the table, or rows since the statement began
            return [*numbers]
        return [record["number"] for record in records]

    async def _delete(self, number: int) -> None:
        """Delete a row. Raise OperatorError if it stays although nobody has locked it."""
        rows = self._names.rows
        status = await self._connection.execute(_DELETE.format(rows=rows), number)
        if status == "DELETE 0" and await self._connection.fetchval(
            f"SELECT count(*) FROM {rows} WHERE number = $1", number
        ):
            raise OperatorError(
                f"published rows of {rows} could not be deleted: the role of outbox.dsn needs a "
                "policy for DELETE, and no trigger may prevent it"
            )

    async def _set_aside(self, row: Refusal) -> None:
        statement = _REFUSE.format(rows=self._names.rows, refused=self._names.refused)
        async with self._connection.transaction():
            await self._connection.execute(_MOVE_PARAMETERS)
            await self._connection.execute(
                statement, row.number, row.code, row.reason, timeout=_MOVE_TIMEOUT_SECONDS
            )

    async def release(self) -> None:
        """Give all partitions back, so that other consumers take them at once."""
        with translated_errors(self._address):
            await self._connection.execute(
                "SELECT pg_advisory_unlock_shared($1::bigint)", self._lock_base + BUCKETS
            )
            await self._release([*self.owned])

    async def _count_consumers(self) -> int:
        lock = self._lock_base + BUCKETS
        count: int = await self._connection.fetchval(
            f"SELECT count(DISTINCT pid) FROM ({LOCK_HOLDERS}) AS holders",
            lock >> 32,
            lock & 0xFFFFFFFF,
        )
        return count

    async def _claim(self, partition: int) -> None:
        """Lock all buckets of a partition, or none.

        The first one decides between consumers with the same number of partitions.
        """
        buckets = partition_buckets(partition, self._partitions)
        locked = await self._lock(buckets[:1])
        if locked:
            locked += await self._lock(buckets[1:])
        if len(locked) == len(buckets):
            self.owned[partition] = buckets
        elif locked:
            await self._unlock(locked)

    async def _lock(self, buckets: Sequence[int]) -> list[int]:
        """Lock the buckets that are free, and return them."""
        records = await self._connection.fetch(
            "SELECT bucket, pg_try_advisory_lock($1::bigint + bucket) AS locked"
            " FROM unnest($2::int[]) AS bucket",
            self._lock_base,
            buckets,
        )
        return [record["bucket"] for record in records if record["locked"]]

    async def _release(self, partitions: Sequence[int]) -> None:
        if not partitions:
            return
        await self._unlock([b for partition in partitions for b in self.owned.pop(partition)])
        await self._connection.execute("SELECT pg_notify($1, $2)", self._names.channel, _RELEASED)

    async def _unlock(self, buckets: Sequence[int]) -> None:
        await self._connection.execute(
            "SELECT pg_advisory_unlock($1::bigint + bucket) FROM unnest($2::int[]) AS bucket",
            self._lock_base,
            buckets,
        )

    async def backlog(self) -> Backlog:
        """Return what waits in the whole table."""
        with translated_errors(self._address):
            return await Inspection(self._connection, self._names).backlog()

    def _on_notification(self, *arguments: Any) -> None:
        if arguments[-1] == _RELEASED:
            self.may_claim = True
        self.woken.set()

    def _on_lost(self, *_: Any) -> None:
        self.woken.set()


@asynccontextmanager
async def open_session(
    address: DatabaseAddress, names: TableNames, *, partitions: int
) -> AsyncIterator[OutboxSession]:
    """Open the session of a consumer. Raise OperatorError, DatabaseUnavailable."""
    async with connect(address) as connection:
        session = OutboxSession(address, connection, names, partitions)
        await session.start()
        yield session


def _row(record: Any) -> OutboxRow:
    return OutboxRow(
        number=record["number"],
        id=str(record["id"]),
        recipient=record["recipient"],
        event=record["event"],
        data=record["data"],
        options=record["options"],
        size_bytes=record["size_bytes"],
        delay_seconds=record["delay_seconds"],
    )


# The bytes of a JSON column are known only when its text is made, which takes seconds for hundreds
# of megabytes. So it is not made of a value that is too large even in compressed form, and only of
# as many others as have the bytes of a page in this form; the text may be 250 times as large.
_STORED: Final = "coalesce(pg_column_size({0}), 0)"
_SIZE: Final = (
    "CASE WHEN {0}_stored > $5 THEN {0}_stored ELSE coalesce(octet_length({0}::text), 0) END"
)
# A row whose transaction is newer than the snapshot of the statement was inserted on another
# server, from which the table was restored, and is read like an old one.
_READ: Final = f"""
WITH candidates AS MATERIALIZED (
    SELECT *, {_STORED.format("data")} AS data_stored, {_STORED.format("options")} AS options_stored
    FROM {{rows}}
    WHERE bucket = ANY($1::smallint[]) AND (
        $2::text IS NULL
        OR pg_visible_in_snapshot(transaction_id, $2::text::pg_snapshot)
        OR transaction_id >= pg_snapshot_xmax(pg_current_snapshot()))
        AND number <> ALL($6::bigint[])
    ORDER BY number LIMIT $3
), page AS (
    SELECT *, sum(stored) OVER (ORDER BY number) - stored AS stored_before
    FROM (
        SELECT *, CASE WHEN data_stored > $5 THEN 0 ELSE data_stored END
            + CASE WHEN options_stored > $5 THEN 0 ELSE options_stored END AS stored
        FROM candidates
    ) AS of_stored
), measured AS MATERIALIZED (
    SELECT *, octet_length(recipient)::bigint + octet_length(event)
        + {_SIZE.format("data")} + {_SIZE.format("options")} AS size
    FROM page WHERE stored_before < $4
), bounded AS (
    SELECT *, sum(bytes_read) OVER (ORDER BY number) - bytes_read AS bytes_before
    FROM (SELECT *, CASE WHEN size <= $5 THEN size ELSE 0 END AS bytes_read FROM measured) AS sized
)
SELECT pg_backend_pid() AS process_id, pg_current_snapshot()::text AS snapshot,
    (SELECT count(*) FROM candidates) AS candidates, number, id, size AS size_bytes,
    CASE WHEN size <= $5 THEN recipient ELSE '' END AS recipient,
    CASE WHEN size <= $5 THEN event ELSE '' END AS event,
    CASE WHEN size <= $5 THEN data END AS data,
    CASE WHEN size <= $5 THEN options END AS options,
    {{age}} AS delay_seconds
FROM (SELECT) AS one LEFT JOIN bounded ON bytes_before < $4
ORDER BY number
"""
# A row that a transaction has locked has the number of the transaction in xmax, also when the
# transaction has ended. SKIP LOCKED needs the privilege for UPDATE.
_DELETE_FREE: Final = """
WITH removed AS (
    DELETE FROM {rows} WHERE number = ANY($1::bigint[]) AND xmax = 0 RETURNING number
)
SELECT number FROM {rows}
WHERE number = ANY($1::bigint[]) AND number NOT IN (SELECT number FROM removed)
"""
_DELETE: Final = f"""
DELETE FROM {{rows}} WHERE number = $1
    AND (SELECT set_config('lock_timeout', '{_LOCK_TIMEOUT}', true)) IS NOT NULL
"""
_REFUSE: Final = """
WITH removed AS (
    DELETE FROM {rows} WHERE number = $1 RETURNING *
)
INSERT INTO {refused} AS old
    (id, recipient, event, data, options, created_at, number, code, reason)
SELECT id, recipient, event, data, options, created_at, number, $2, $3 FROM removed
ON CONFLICT (id) DO UPDATE SET
    (recipient, event, data, options, created_at, number, refused_at, code, reason) =
    (excluded.recipient, excluded.event, excluded.data, excluded.options, excluded.created_at,
     excluded.number, excluded.refused_at, excluded.code, excluded.reason)
"""
