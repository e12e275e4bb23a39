"""One PostgreSQL for all tests of the outbox, and empty tables for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import asyncpg
import pytest

from hub.outbox.schema import TableNames, create_statements
from tests.conftest import temporary_folder
from tests.outbox.kit import Outbox
from tests.postgres import PostgresServer

NAMES = TableNames("public", "hub_outbox")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this process. Its database `postgres` has the tables of the outbox."""
    with ExitStack() as stack:
        server = PostgresServer(temporary_folder("postgres", stack))
        stack.callback(server.kill)
        server.execute(create_statements(NAMES))
        yield server


@pytest.fixture
async def outbox(postgres: PostgresServer) -> AsyncIterator[Outbox]:
    """An empty outbox, and a connection of the application."""
    url = postgres.url("postgres")
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"TRUNCATE {NAMES.rows}, {NAMES.refused} RESTART IDENTITY;"
        f" ALTER TABLE {NAMES.rows} ENABLE TRIGGER ALL"
    )
    outbox = Outbox(url, NAMES, connection)
    try:
        yield outbox
    finally:
        await outbox.close()
        connection.terminate()
