"""Connecting to PostgreSQL, and what its errors mean.

A consumer needs a session of its own: its locks and its LISTEN belong to one connection to the
server. A pooler that gives each transaction another server connection (PgBouncer with
`pool_mode = transaction`) has no sessions, so `check_session` refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
import msgspec

from hub.errors import DatabaseUnavailable, OperatorError
from hub.outbox.schema import MIN_VERSION

Connection: TypeAlias = asyncpg.Connection

_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_COMMAND_TIMEOUT_SECONDS: Final = 20.0
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
_POOLER: Final = (
    "outbox.dsn leads to a connection pooler in transaction mode, which has no session locks and "
    "no LISTEN: use the address of PostgreSQL itself, or a pool with pool_mode = session"
)
# A host that is gone without a word loses its locks after about 25 seconds. The deletes of
# published rows need not wait for the disk: a row that comes back is a duplicate.
_SESSION_PARAMETERS: Final = {
    "idle_session_timeout": "0",
    "lock_timeout": "2s",
    "statement_timeout": "15s",
    "synchronous_commit": "off",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
}
_WRONG_SETTINGS: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,  # also a wrong password
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,
)


UNAVAILABLE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a server that ends in the middle of its answer
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the database is away, or fails."""


class DatabaseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is.

    dsn: postgresql://… . shown: the same without secrets. password_file: a file with the password,
    which is read for each connection. application: what pg_stat_activity shows.
    """

    dsn: str
    shown: str
    password_file: str | None = None
    application: str = "hub outbox"


@contextmanager
def translated_errors(address: DatabaseAddress) -> Iterator[None]:
    """Raise OperatorError for errors that the operator must fix, and DatabaseUnavailable for
    others.
    """
    try:
        yield
    except _WRONG_SETTINGS as error:
        raise OperatorError(
            f"PostgreSQL at {address.shown} (setting outbox.dsn): {_describe(error)}"
        ) from error
    except UNAVAILABLE as error:
        raise DatabaseUnavailable(
            f"PostgreSQL at {address.shown} (setting outbox.dsn): {_describe(error)}"
        ) from error


@asynccontextmanager
async def connect(address: DatabaseAddress) -> AsyncIterator[Connection]:
    """Connect, and close the connection in the end. Errors: as in translated_errors."""
    password = None if address.password_file is None else _read_password(address.password_file)
    with translated_errors(address):
        try:
            connection = await asyncpg.connect(
                address.dsn,
                password=password,
                timeout=_CONNECT_TIMEOUT_SECONDS,
                command_timeout=_COMMAND_TIMEOUT_SECONDS,
            )
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise OperatorError("the setting outbox.dsn (HUB_OUTBOX__DSN) is wrong") from error
    try:
        with translated_errors(address):
            await connection.execute(
                "SELECT set_config(name, wanted, false) FROM pg_settings"
                " JOIN unnest($1::text[], $2::text[]) AS parameters (name, wanted) USING (name)",
                [*_SESSION_PARAMETERS, "application_name"],
                [*_SESSION_PARAMETERS.values(), address.application],
            )
        yield connection
    except BaseException:
        connection.terminate()
        raise
    with suppress(*UNAVAILABLE):
        await connection.close(timeout=_CLOSE_TIMEOUT_SECONDS)


async def check_session(address: DatabaseAddress, connection: Connection) -> int:
    """Return the process id of the session. Raise OperatorError if there is no session.

    While another connection is in a transaction, a pooler in transaction mode cannot give its
    server connection to this one; and if both had the same one, there is no doubt.
    """
    encoding, version = (
        await connection.fetchval("SHOW server_encoding"),
        connection.get_server_version(),
    )
    if version.major < MIN_VERSION // 10_000:
        raise OperatorError(f"the outbox needs PostgreSQL 13 or newer; this is {version.major}")
    if encoding == "SQL_ASCII":
        raise OperatorError(
            "the outbox needs a database with an encoding; this one has SQL_ASCII, so its texts "
            "may be anything"
        )
    process_id: int = await connection.fetchval("SELECT pg_backend_pid()")
    async with connect(address) as other, other.transaction():
        same = process_id == await other.fetchval("SELECT pg_backend_pid()")
        if same or process_id != await connection.fetchval("SELECT pg_backend_pid()"):
            raise OperatorError(_POOLER)
    return process_id


def require_session(process_id: int, expected: int) -> None:
    """Raise OperatorError if a statement ran in another session than the one with the locks."""
    if process_id != expected:
        raise OperatorError(_POOLER)


def _read_password(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except (OSError, ValueError) as error:
        raise OperatorError(f"the file of outbox.password_file cannot be read: {error}") from error


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = " ".join(str(error).split())
    return text or type(error).__name__
