"""The commands of `hub outbox`, `hub doctor`, and a worker with an outbox, as processes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.cli.app import app
from hub.cli.doctor.outbox import check_outbox
from hub.errors import HubError
from hub.settings import Settings
from tests.forked_hub import start_hub
from tests.outbox.kit import Outbox
from tests.postgres import PostgresServer
from tests.redis_backend import redis_backend


def invoke(outbox: Outbox, *words: str, dsn: str | None = None) -> str:
    """Run a command, and return what it prints."""
    env = {"HUB_OUTBOX__DSN": dsn or outbox.url}
    result = CliRunner().invoke(app, ["outbox", *words], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


async def run(outbox: Outbox, *words: str, dsn: str | None = None) -> str:
    """Run a command in a thread, since it has an event loop of its own."""
    return await asyncio.to_thread(invoke, outbox, *words, dsn=dsn)


@pytest.fixture
async def refused(outbox: Outbox) -> list[str]:
    """Return the ids of two refused rows."""
    ids = [await outbox.insert("nobody", n) for n in range(2)]
    outbox.start()
    await outbox.drained()
    return ids


async def test_init_creates_the_tables(postgres: PostgresServer, outbox: Outbox) -> None:
    """The SQL may be run again, in another schema too, and without the trigger."""
    for words in ((), (), ("--no-notify",)):
        await asyncio.to_thread(postgres.execute, await run(outbox, "init", *words))
    settings = {"HUB_OUTBOX__TABLE_SCHEMA": "Apps", "HUB_OUTBOX__TABLE": "Events"}
    result = CliRunner().invoke(app, ["outbox", "init"], env=settings)
    await asyncio.to_thread(postgres.execute, result.output)
    assert await outbox.connection.fetchval('SELECT count(*) FROM "Apps"."Events_refused"') == 0
    await outbox.connection.execute('DROP SCHEMA "Apps" CASCADE')


async def test_status(outbox: Outbox, refused: list[str]) -> None:
    """It shows what waits, what was refused, and the consumers."""
    state = json.loads(await run(outbox, "status", "--json"))
    assert state == {
        "waiting": 0, "oldest_seconds": None, "refused": 2, "consumers": ["consumer 0"],
    }  # fmt: skip
    await outbox.end()
    await outbox.insert("all", 1)
    text = await run(outbox, "status")
    assert "waiting         1\n" in text
    assert "refused         2\n" in text


async def test_refused_rows_are_listed_and_put_back(outbox: Outbox, refused: list[str]) -> None:
    """They are listed with their reasons; `retry` publishes them again, `discard` deletes them."""
    text = await run(outbox, "refused")
    assert all(row in text for row in refused)
    assert "recipient must be user:<id>, topic:<name> or all" in text
    rows = [json.loads(line) for line in (await run(outbox, "refused", "--json")).splitlines()]
    assert [row["id"] for row in rows] == refused[::-1]
    output = await run(outbox, "retry", refused[0])  # and what the consumer logs meanwhile
    assert output.endswith("1 row put back\n")
    await outbox.drained()
    assert {row[0] for row in await outbox.refused()} == {"nobody"}
    assert await run(outbox, "discard", "--all") == "2 rows deleted\n"
    assert await outbox.refused() == []


async def test_wrong_arguments(outbox: Outbox) -> None:
    """Ids that do not exist, no ids and no UUIDs are errors of one sentence."""
    for words, sentence in (
        (["retry"], "give the ids of rows, or --all"),
        (["retry", "--all", "00000000-0000-0000-0000-000000000000"], "give the ids"),
        (["discard", "17"], "should be a valid UUID"),
    ):
        result = CliRunner().invoke(app, ["outbox", *words], env={"HUB_OUTBOX__DSN": outbox.url})
        assert result.exit_code == 2
        assert sentence in result.output


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        ("postgresql://nobody:secret@127.0.0.1:1/app", "postgresql://***@127.0.0.1:1/app"),
        ("postgresql://postgres@/no_such?host={socket}", 'database "no_such" does not exist'),
        ("postgresql://nobody@/postgres?host={socket}", 'role "nobody" does not exist'),
        ("postgresql://postgres@/template1?host={socket}", 'relation "public.hub_outbox" does not'),
        ("postgresql://127.0.0.1:port/app", "the setting outbox.dsn (HUB_OUTBOX__DSN) is wrong"),
    ],
)
async def test_wrong_database(outbox: Outbox, dsn: str, sentence: str) -> None:
    """The sentence says what is wrong, without the password."""
    dsn = dsn.replace("{socket}", outbox.url.partition("host=")[2])
    with pytest.raises(HubError) as caught:
        await run(outbox, "status", dsn=dsn)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    (result,) = await check_outbox(Settings(outbox={"dsn": dsn}))
    assert result.status == "fail"


async def test_password_file(outbox: Outbox, tmp_path: Path) -> None:
    """A file of the password that cannot be read is named."""
    file = tmp_path / "password"
    settings = Settings(outbox={"dsn": outbox.url, "password_file": str(file)})
    (result,) = await check_outbox(settings)
    assert "the file of outbox.password_file cannot be read" in result.message
    file.write_text("secret\n")
    assert (await check_outbox(settings))[0].status == "warn"


async def test_doctor(outbox: Outbox, refused: list[str]) -> None:
    """It says what is missing, denied, refused or not running."""
    settings = Settings(outbox={"dsn": outbox.url})
    results = await check_outbox(settings)
    assert [(each.status, each.check) for each in results] == [("ok", "outbox"), ("warn", "outbox")]
    assert "consumers: consumer 0" in results[0].message
    assert "2 refused rows" in results[1].message
    await outbox.end()
    await outbox.connection.execute("ALTER TABLE hub_outbox DISABLE TRIGGER ALL")
    messages = [each.message for each in await check_outbox(settings)]
    assert "no consumer runs" in messages[0]
    assert "no trigger wakes the consumers" in messages[1]
    elsewhere = Settings(outbox={"dsn": outbox.url, "table": "elsewhere"})
    (result,) = await check_outbox(elsewhere)
    assert 'lacks "public"."elsewhere", "public"."elsewhere_refused": run' in result.message


async def test_doctor_names_missing_privileges(outbox: Outbox) -> None:
    """The role of the hub needs SELECT, INSERT and DELETE; the application's needs INSERT only."""
    connection = outbox.connection
    await connection.execute("DROP ROLE IF EXISTS little; CREATE ROLE little LOGIN")
    await connection.execute("GRANT INSERT ON hub_outbox TO little")
    dsn = outbox.url.replace("postgres@", "little@")
    (result,) = await check_outbox(Settings(outbox={"dsn": dsn}))
    assert "the role of outbox.dsn lacks SELECT on" in result.message
    await connection.execute("SET ROLE little; INSERT INTO hub_outbox (recipient) VALUES ('all')")
    await connection.execute("RESET ROLE; DROP OWNED BY little; DROP ROLE little")


def test_password_is_masked() -> None:
    """`hub config` shows neither the user nor the password of the URL, nor its options."""
    dsn = "postgresql://hub:s3cret@db.example:5433/app?password=s3cret&sslmode=require"
    result = CliRunner().invoke(app, ["config"], env={"HUB_OUTBOX__DSN": dsn})
    assert result.exit_code == 0
    assert "s3cret" not in result.output
    assert "postgresql://***@db.example:5433/app?password=***&sslmode=***" in result.output
    result = CliRunner().invoke(app, ["config"], env={"HUB_OUTBOX__DSN": "mysql://hub:s3cret@db"})
    assert "s3cret" not in str(result.exception)
    assert "the URL must begin with postgresql:// or postgres://" in str(result.exception)


@pytest.fixture
async def environment(outbox: Outbox, open_redis: Any, valkey: Any) -> dict[str, str]:
    """The environment of processes with this outbox and a Valkey."""
    server = await open_redis("valkey")
    outbox.backend = redis_backend(server.hub_client)  # type: ignore[assignment]
    return {
        **os.environ,
        "HUB_OUTBOX__DSN": outbox.url,
        "HUB_OUTBOX__POLL_SECONDS": "0.1",
        "HUB_NODE__NAME": "n1",
        "HUB_REDIS__URL": valkey.url,
        "HUB_AUTH__DISABLED": "true",
        "HUB_LOGS__FORMAT": "json",
    }


@pytest.mark.parametrize("command", ["outbox", "worker"])
async def test_processes_publish(
    outbox: Outbox, environment: dict[str, str], command: str, tmp_path: Path
) -> None:
    """`hub outbox` and `hub worker` publish the rows, and give their partitions back at the end."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = start_hub(command, env=environment, output=output)
    try:
        await outbox.insert("user:alice", {"n": 1}, options={"ttl_seconds": 60})
        await outbox.drained()
        assert await outbox.published("user:alice") == [{"n": 1}]
        assert await outbox.inspection.consumers() == ["hub outbox n1"]
        process.terminate()
        await process.wait()
    finally:
        process.kill()
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "outbox.stopped" in events


async def test_process_without_a_database(environment: dict[str, str], tmp_path: Path) -> None:
    """`hub outbox` needs a database, and does not start without the tables."""
    for dsn, sentence in (
        ("", "hub: set outbox.dsn (HUB_OUTBOX__DSN)"),
        (
            environment["HUB_OUTBOX__DSN"].replace("/postgres?", "/template1?"),
            "run the SQL of `hub outbox init`",
        ),
    ):
        env = {**environment, "HUB_OUTBOX__DSN": dsn}
        if not dsn:
            del env["HUB_OUTBOX__DSN"]
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = start_hub("outbox", env=env, output=output)
        await process.wait()
        assert process.returncode == 2
        assert sentence in log.read_text()
