"""What waits in the outbox and what was refused, for the commands and `hub doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from hub.errors import OperatorError
from hub.outbox.connection import Connection
from hub.outbox.partitions import BUCKETS, lock_base
from hub.outbox.schema import COLUMNS, OWN_COLUMNS, TableNames

MAX_COUNT: Final = 100_000
"""Rows are counted up to this number, so that a large table costs little."""


LOCK_HOLDERS: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = $1 AND objid = $2 AND objsubid = 1"
)
"""The sessions that hold an advisory lock. $1, $2: the upper and the lower half of its key."""


AGE_SECONDS: Final = (
    "CASE WHEN isfinite(created_at) THEN extract(epoch FROM clock_timestamp() - created_at) ELSE 0"
    " END::float8"
)
"""The age of a row in seconds. The application may write `infinity`, which no time is subtracted
from."""


class Backlog(msgspec.Struct, frozen=True):
    """rows, refused: the numbers of rows, at most MAX_COUNT. oldest_seconds: the age of the oldest
    row that waits, or None.
    """

    rows: int
    oldest_seconds: float | None
    refused: int


class RefusedRow(msgspec.Struct, frozen=True):
    """A row that was set aside, without its data."""

    id: str
    recipient: str
    event: str
    refused_at: datetime
    code: str
    reason: str


class TableState(msgspec.Struct, frozen=True):
    """What is wrong with the tables for the role of the hub.

    missing: tables and columns that do not exist. lacking: privileges that the role lacks.
    notifies: whether an insert wakes consumers.
    """

    missing: Sequence[str]
    lacking: Sequence[str]
    notifies: bool


def check_tables(state: TableState) -> None:
    """Raise OperatorError if something is missing, before a row is published: a published row that
    cannot be deleted would be published again.
    """
    if state.missing:
        missing = ", ".join(state.missing)
        raise OperatorError(f"the outbox lacks {missing}: run the SQL of `hub outbox init`")
    if state.lacking:
        lacking = ", ".join(state.lacking)
        raise OperatorError(
            f"the role of outbox.dsn lacks {lacking}: grant what the end of `hub outbox init` lists"
        )


class Inspection:
    """Reads the tables. connection: see hub/outbox/connection.py; its errors are not translated."""

    def __init__(self, connection: Connection, names: TableNames) -> None:
        self._connection = connection
        self._names = names

    async def backlog(self) -> Backlog:
        """Return what waits."""
        record = await self._connection.fetchrow(
            f"SELECT (SELECT count(*) FROM (SELECT FROM {self._names.rows} LIMIT $1) AS r) AS rows,"
            f" (SELECT {AGE_SECONDS} FROM {self._names.rows} ORDER BY number LIMIT 1)"
            " AS oldest_seconds,"
            f" (SELECT count(*) FROM (SELECT FROM {self._names.refused} LIMIT $1) AS r) AS refused",
            MAX_COUNT,
        )
        assert record is not None
        return Backlog(record["rows"], record["oldest_seconds"], record["refused"])

    async def consumers(self) -> list[str]:
        """Return the applications that hold locks of the outbox, as pg_stat_activity names them."""
        table = await self._connection.fetchval("SELECT $1::text::regclass::oid", self._names.rows)
        lock = lock_base(table) + BUCKETS
        records = await self._connection.fetch(
            "SELECT application_name FROM pg_stat_activity"
            f" WHERE pid IN ({LOCK_HOLDERS}) ORDER BY 1",
            lock >> 32,
            lock & 0xFFFFFFFF,
        )
        return [record[0] or "" for record in records]

    async def refused(self, limit: int) -> list[RefusedRow]:
        """Return refused rows in the order of their inserts, the newest first."""
        records = await self._connection.fetch(
            "SELECT id::text, recipient, event, refused_at, code, reason"
            f" FROM {self._names.refused} ORDER BY number DESC LIMIT $1",
            limit,
        )
        return [RefusedRow(*record.values()) for record in records]

    async def retry(self, ids: Sequence[str] | None) -> int:
        """Put refused rows back, in their order; None puts all back. Return how many they are.

        A row whose id belongs to another event gets a new id.
        """
        count: int = await self._connection.fetchval(
            f"WITH chosen AS (DELETE FROM {self._names.refused}"
            " WHERE $1::uuid[] IS NULL OR id = ANY($1) RETURNING *), "
            f"inserted AS (INSERT INTO {self._names.rows} (id, recipient, event, data, options)"
            " SELECT CASE WHEN code = 'idempotency_key_reused' THEN gen_random_uuid() ELSE id END,"
            " recipient, event, data, options FROM chosen ORDER BY number RETURNING 1)"
            " SELECT count(*) FROM inserted",
            ids,
        )
        return count

    async def discard(self, ids: Sequence[str] | None) -> int:
        """Delete refused rows; None deletes all. Return how many they are."""
        count: int = await self._connection.fetchval(
            f"WITH chosen AS (DELETE FROM {self._names.refused}"
            " WHERE $1::uuid[] IS NULL OR id = ANY($1) RETURNING 1) SELECT count(*) FROM chosen",
            ids,
        )
        return count

    async def tables(self) -> TableState:
        """Check that the tables are there and that the role may use them."""
        names = self._names
        missing, lacking = [], []
        wanted = {
            names.rows: ([*COLUMNS, *OWN_COLUMNS], "SELECT INSERT DELETE"),
            names.refused: (
                [*COLUMNS, "refused_at", "code", "reason"],
                "SELECT INSERT UPDATE DELETE",
            ),
        }
        for table, (columns, privileges) in wanted.items():
            oid = await self._connection.fetchval("SELECT to_regclass($1)::oid", table)
            if oid is None:
                missing.append(table)
                continue
            present = await self._columns(oid)
            missing += [f"{table}.{column}" for column in columns if column not in present]
            lacking += [
                f"{privilege} on {table}"
                for privilege in privileges.split()
                if not await self._connection.fetchval(
                    "SELECT has_table_privilege($1::oid, $2)", oid, privilege
                )
            ]
        notifies = False
        if not missing:
            notifies = await self._connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::text::regclass"
                " AND tgname = $2 AND tgenabled <> 'D')",
                names.rows,
                f"{names.table}_notify",
            )
        return TableState(missing, lacking, notifies)

    async def _columns(self, oid: int) -> set[Any]:
        records = await self._connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1 AND NOT attisdropped", oid
        )
        return {record[0] for record in records}
