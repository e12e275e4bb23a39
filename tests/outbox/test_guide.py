"""Run the SQL, the commands and the programs of docs/guides/outbox.md against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from hub.outbox.schema import TableNames
from tests.docs.snippets import DOCS, find_blocks
from tests.forked_hub import hub_program
from tests.outbox.kit import Outbox
from tests.postgres import PostgresServer

PAGE = DOCS / "guides" / "outbox.md"
DJANGO = """
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "{database}", "USER": "postgres",
    "HOST": {host!r}}}}})
django.setup()
{code}
def fails():
    with transaction.atomic():
        ship("alice", 1)
        raise ValueError
try:
    fails()
except ValueError:
    pass
ship("alice", 2)
Outbox.objects.create(recipient="user:alice", options={{"ttl_seconds": 60}})
"""
SQLALCHEMY = """
from sqlalchemy import create_engine
{code}
engine = create_engine("postgresql+psycopg://postgres@/{database}?host=" + {host!r})
with Session(engine) as session:
    ship_order(session, "alice", 1)
    session.rollback()
    ship_order(session, "alice", 2)
    session.commit()
engine.dispose()
"""


def blocks(part: str, language: str) -> list[str]:
    """Return the code below a heading of the page."""
    return [
        each.code for each in find_blocks(PAGE) if each.part == part and each.language == language
    ]


@pytest.fixture
async def guide(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    """An outbox that was made with the commands of the page."""
    url = await asyncio.to_thread(postgres.create_database)
    (commands,) = blocks("Set it up in five minutes", "sh")
    program = tmp_path / "bin" / "hub"
    program.parent.mkdir()
    program.symlink_to(hub_program())
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "DATABASE_URL": url}
    script = ["bash", "-euc", commands]
    await asyncio.to_thread(subprocess.run, script, cwd=tmp_path, env=env, check=True)
    connection = await asyncpg.connect(url)
    outbox = Outbox(url, TableNames("public", "hub_outbox"), connection)
    outbox.start()
    try:
        yield outbox
    finally:
        await outbox.close()
        connection.terminate()


async def run(program: str, guide: Outbox, postgres: PostgresServer, part: str) -> None:
    """Run a program with the code below a heading, in a process of its own."""
    (code,) = blocks(part, "python")
    database = guide.url.partition("?")[0].rpartition("/")[2]
    text = program.format(code=code, database=database, host=str(postgres.socket))
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", text], check=True)


async def test_django(guide: Outbox, postgres: PostgresServer) -> None:
    """The model inserts with the transaction, and its defaults are those of the database."""
    await run(DJANGO, guide, postgres, "In Django")
    await guide.drained()
    assert await guide.published("user:alice") == [{"order": 2}, None]
    assert await guide.refused() == []


async def test_sqlalchemy(guide: Outbox, postgres: PostgresServer) -> None:
    """The function inserts with the session."""
    await run(SQLALCHEMY, guide, postgres, "In SQLAlchemy")
    await guide.drained()
    assert await guide.published("user:alice") == [{"order": 2}]
    assert await guide.refused() == []


async def test_sql(guide: Outbox) -> None:
    """The statements work, also with the roles of the page and nothing else."""
    await guide.connection.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
    await guide.connection.execute("CREATE ROLE app")
    (permissions,) = blocks("Permissions", "sql")
    await guide.connection.execute(permissions)
    await guide.connection.execute("GRANT ALL ON orders TO app; SET ROLE app")
    (statements,) = blocks("Set it up in five minutes", "sql")
    await guide.connection.execute(statements)
    await guide.connection.execute("RESET ROLE")
    await guide.drained()
    assert await guide.published("user:alice") == [{"order": 981}]
    as_hub = await asyncpg.connect(guide.url.replace("postgres@", "hub@"))
    await guide.close()
    restricted = Outbox(guide.url.replace("postgres@", "hub@"), guide.names, as_hub)
    restricted.start()
    await guide.insert("user:alice", 1)
    await guide.insert("nobody", 2)
    await restricted.drained()
    assert await restricted.published("user:alice") == [1]
    assert await restricted.inspection.retry(None) == 1
    await restricted.close()
    as_hub.terminate()
