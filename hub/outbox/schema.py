"""The names of the outbox in the database, and the statements that create it.

Columns beside those that the application writes (id, recipient, event, data, options):
created_at      when the row was inserted
number          counts inserted rows; a sequence, so it is not the order of commits
transaction_id  of the transaction that inserted the row
bucket          computed from the recipient: hub/outbox/partitions.py
"""

from __future__ import annotations

from typing import Final

import msgspec

from hub.outbox.partitions import BUCKETS

MIN_VERSION: Final = 130_000
"""PostgreSQL 13: xid8, pg_snapshot and gen_random_uuid."""

COLUMNS: Final = ("id", "recipient", "event", "data", "options")
OWN_COLUMNS: Final = ("created_at", "number", "transaction_id", "bucket")


class TableNames(msgspec.Struct, frozen=True):
    """schema, table: as the settings name them."""

    schema: str
    table: str

    @property
    def rows(self) -> str:
        """The table of rows that wait, quoted."""
        return f"{quote(self.schema)}.{quote(self.table)}"

    @property
    def refused(self) -> str:
        """The table of rows that were refused, quoted."""
        return f"{quote(self.schema)}.{quote(f'{self.table}_refused')}"

    @property
    def channel(self) -> str:
        """The channel of NOTIFY."""
        return self.table


def quote(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def create_statements(names: TableNames, *, notify: bool = True) -> str:
    """Return the statements that create the tables. Each may be repeated.

    notify: whether an insert wakes the consumers. Without it, they see new rows at their next poll.
    """
    rows, refused = names.rows, names.refused
    schema = (
        "" if names.schema == "public" else f"CREATE SCHEMA IF NOT EXISTS {quote(names.schema)};\n"
    )
    statements = f"""\
-- The outbox of the hub, for PostgreSQL 13 and newer. Every statement may be repeated.
{schema}
-- The application writes the first five columns; all but the recipient have a default.
CREATE TABLE IF NOT EXISTS {rows} (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),  -- the idempotency key of the event
    recipient text NOT NULL,                        -- user:<id>, topic:<name> or all
    event text NOT NULL DEFAULT 'notification',
    data json,
    options json,                                   -- optional fields of POST /publish
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    bucket smallint NOT NULL
        GENERATED ALWAYS AS ((hashtext(recipient) & {BUCKETS - 1})::smallint) STORED
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Rows that the hub cannot publish, with the reason: hub outbox refused, hub outbox retry.
CREATE TABLE IF NOT EXISTS {refused} (
    id uuid PRIMARY KEY,
    recipient text NOT NULL,
    event text NOT NULL,
    data json,
    options json,
    created_at timestamptz NOT NULL,
    number bigint NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    code text NOT NULL,
    reason text NOT NULL
);
"""
    if notify:
        function = f"{quote(names.schema)}.{quote(f'{names.table}_notify')}"
        trigger = quote(f"{names.table}_notify")
        statements += f"""
-- Wakes the consumers when a transaction that has inserted rows commits.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('{names.channel}', '');
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS {trigger} ON {rows};
CREATE TRIGGER {trigger} AFTER INSERT ON {rows}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}();
"""
    return f"""{statements}
-- The role of the application needs USAGE on the schema, and:
--   GRANT INSERT ON {rows} TO <application>;
-- The role of the hub needs USAGE on the schema, and:
--   GRANT SELECT, INSERT, DELETE ON {rows} TO <hub>;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON {refused} TO <hub>;
"""
