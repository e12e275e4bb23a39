"""P11: publish the rows of a PostgreSQL outbox."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import servers
from bench.load import Row
from bench.machine import SERVER_CORE, cpu_seconds, profile, run_process
from hub.outbox.schema import TableNames, create_statements
from tests.postgres import PostgresServer

_START_TIMEOUT_SECONDS = 60.0


def outbox(rows: int = 20_000) -> list[Row]:
    """P11: one consumer that publishes a backlog for 2,000 users, by the rows it reads at once.

    The rate counts from the first row that is gone. The CPU time of PostgreSQL includes the reads
    and deletes only.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = PostgresServer(folder)
        stack.callback(postgres.kill)
        postgres.execute(create_statements(TableNames("public", "hub_outbox")))
        url = stack.enter_context(servers.run_broker())
        sizes = {1: rows // 20, 64: rows, 512: rows}
        return [_measure(postgres, url, *each) for each in sizes.items()]


def _measure(postgres: PostgresServer, broker_url: str, batch_size: int, rows: int) -> Row:
    postgres.execute(
        "INSERT INTO hub_outbox (recipient, data) SELECT 'user:u' || n % 2000,"
        " json_build_object('title', 'Order shipped', 'order', n)"
        f" FROM generate_series(1, {rows}) AS n",
        "VACUUM ANALYZE hub_outbox",
        "CHECKPOINT",
    )
    env = {
        "HUB_OUTBOX__DSN": postgres.url("postgres"),
        "HUB_OUTBOX__BATCH_SIZE": str(batch_size),
        "HUB_REDIS__URL": broker_url,
        "HUB_LOGS__FORMAT": "json",
    }
    command = [sys.executable, "-m", "hub", "outbox"]
    with run_process(SERVER_CORE, command, env) as consumer:
        left = _wait(postgres, rows - 1)
        before = cpu_seconds(consumer.pid), _database_seconds(postgres)
        started = time.monotonic()
        with profile(consumer.pid, f"outbox {batch_size}", 2):
            _wait(postgres, 0)
        seconds = time.monotonic() - started
        used = cpu_seconds(consumer.pid) - before[0]
        database = _database_seconds(postgres) - before[1]
    return {
        "rows at once": batch_size,
        "rows/s": left / seconds,
        "µs per row": used / left * 1e6,
        "PostgreSQL, µs per row": database / left * 1e6,
        "consumer core, %": used / seconds * 100,
    }


def _wait(postgres: PostgresServer, rows: int) -> int:
    """Return the number of rows as soon as there are at most so many."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while True:
        left = int(postgres.execute("SELECT count(*) FROM hub_outbox"))
        if left <= rows:
            return left
        if time.monotonic() > deadline:
            raise TimeoutError("the consumer does not publish")
        time.sleep(0.1)


def _database_seconds(postgres: PostgresServer) -> float:
    """Return the CPU time of the sessions of the consumer."""
    pids = postgres.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'hub outbox%'"
    )
    return sum(cpu_seconds(int(pid)) for pid in pids.split())
