"""PostgreSQL, its sessions, the consumers of the outbox and the broker are killed at random.

Writers run transactions that insert rows into the outbox and, in the same transaction, into a
table `ledger`. So the ledger has what was committed, also where the acknowledgement of a commit was
lost. In the end it is compared with the logs of the channels. Exit with 1 if a committed row is not
in the log exactly once, if a row is there that was not committed, or if the rows that one writer
has committed one after the other for one recipient are in another order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from hub.core.channel import user_channel
from hub.outbox.connection import UNAVAILABLE
from hub.outbox.schema import TableNames, create_statements
from hub.ports.events import FROM_START
from hub.settings import Settings
from hub.wiring.backend import open_backend
from tests.conftest import temporary_folder
from tests.forked_hub import HubProcess, start_hub
from tests.postgres import PostgresServer
from tests.processes import Valkey

_USERS: Final = 20
_BAD_RECIPIENT: Final = "nobody"
_DRAIN_SECONDS: Final = 120.0
_LEDGER: Final = (
    "CREATE TABLE ledger"
    " (id uuid PRIMARY KEY, recipient text NOT NULL, writer int NOT NULL, number int NOT NULL)"
)


class OutboxSoak:
    """Writers, consumers and faults. seed: of the writers and the faults.

    `counts` has the totals, `problems` describes what must not happen.
    """

    def __init__(self, folder: Path, *, seed: int, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._log = log
        self._random = random.Random(seed)
        self._postgres: PostgresServer
        self._valkey = Valkey(folder)
        self._consumers: list[HubProcess] = []
        self._is_over = False
        self._acknowledged: set[UUID] = set()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    async def run(self, seconds: float, *, writers: int, consumers: int, pause: float) -> None:
        """Write and inject faults, one about every `pause` seconds; then compare."""
        async with AsyncExitStack() as stack:
            await self._start(stack, consumers)
            async with asyncio.TaskGroup() as group:
                writing = [group.create_task(self._write(n)) for n in range(writers)]
                keeping = group.create_task(self._keep_consumers())
                await self._inject_faults(seconds, pause)
                self._is_over = True
                await asyncio.gather(*writing)
                await self._drain()
                keeping.cancel()
            for each in self._consumers:
                each.terminate()
            await asyncio.gather(*(each.wait() for each in self._consumers))
            await self._compare()

    async def _start(self, stack: AsyncExitStack, consumers: int) -> None:
        postgres = self._folder / "postgres"
        postgres.mkdir()
        self._postgres = await asyncio.to_thread(PostgresServer, postgres)
        stack.callback(self._postgres.kill)
        self._postgres.execute(create_statements(TableNames("public", "hub_outbox")), _LEDGER)
        stack.push_async_callback(self._valkey.kill)
        await self._valkey.start()
        self._url = self._postgres.url("postgres")
        log = {"max_events": 10**7, "max_bytes": 10**10, "ttl_seconds": 86_400.0}
        self._settings: dict[str, Any] = {
            "redis": {"url": f"unix://{self._valkey.socket}"},
            "outbox": {"dsn": self._url, "poll_seconds": 1.0, "batch_size": 100},
            "log": {"user": log},
        }
        self._env = {
            **os.environ,
            **{
                f"HUB_{table}__{name}".upper(): str(value)
                for table, values in self._settings.items()
                for name, value in values.items()
                if not isinstance(value, dict)
            },
            **{f"HUB_LOG__USER__{name}".upper(): str(value) for name, value in log.items()},
            "HUB_LOGS__FORMAT": "json",
        }
        self._consumers = [self._start_consumer() for _ in range(consumers)]
        stack.callback(self._kill_consumers)

    def _start_consumer(self) -> HubProcess:
        with (self._folder / "consumers.log").open("ab") as output:
            return start_hub("outbox", env=self._env, output=output)

    def _kill_consumers(self) -> None:
        for each in self._consumers:
            each.kill()
            each.wait_blocking(30)

    async def _keep_consumers(self) -> None:
        """Start a consumer again that has ended, as systemd does."""
        while True:
            for n, each in enumerate(self._consumers):
                if each.returncode is not None:
                    self._consumers[n] = self._start_consumer()
                    self.counts["consumers started again"] += 1
            await asyncio.sleep(0.1)

    async def _write(self, writer: int) -> None:
        """Run transactions, one after the other, and connect again when the server was away."""
        number, connection = 0, None
        own = random.Random(self._random.random())
        while not self._is_over:
            try:
                if connection is None:
                    connection = await asyncpg.connect(self._url, timeout=5, command_timeout=30)
                number += 1
                ids = await self._transact(connection, own, writer, number)
                self._acknowledged.update(ids)
            except UNAVAILABLE:
                self.counts["transactions without an answer"] += 1
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.1)
        if connection is not None:
            connection.terminate()

    async def _transact(
        self, connection: Any, own: random.Random, writer: int, number: int
    ) -> Sequence[UUID]:
        """Insert rows in one transaction, which sometimes is long or rolled back."""
        transaction = connection.transaction()
        await transaction.start()
        ids = []
        for _ in range(own.randint(1, 5)):
            row, recipient = uuid4(), f"user:u{own.randrange(_USERS)}"
            if own.random() < 0.02:
                recipient = _BAD_RECIPIENT
            data = json.dumps({"id": str(row), "writer": writer, "number": number})
            await connection.execute(
                "INSERT INTO hub_outbox (id, recipient, data) VALUES ($1, $2, $3)",
                *(row, recipient, data),
            )
            await connection.execute(
                "INSERT INTO ledger VALUES ($1, $2, $3, $4)", row, recipient, writer, number
            )
            ids.append(row)
        await asyncio.sleep(own.uniform(0.5, 3.0) if own.random() < 0.02 else own.uniform(0, 0.04))
        if own.random() < 0.2:
            await transaction.rollback()
            self.counts["transactions rolled back"] += 1
            return []
        await transaction.commit()
        self.counts["transactions committed"] += 1
        return ids

    async def _inject_faults(self, seconds: float, pause: float) -> None:
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "PostgreSQL killed": self._kill_postgres,
            "PostgreSQL restarted": self._restart_postgres,
            "PostgreSQL paused": self._pause_postgres,
            "sessions ended": self._end_sessions,
            "consumer killed": self._kill_consumer,
            "consumer stopped": self._stop_consumer,
            "consumer paused": self._pause_consumer,
            "broker killed": self._kill_broker,
            "broker paused": self._pause_broker,
        }
        end = time.monotonic() + seconds
        names: list[str] = []
        while time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(0.2, 1.8) * pause)
            if not names:  # each as often as the others
                names = self._random.sample([*faults], len(faults))
            name = names.pop()
            self.counts[f"fault: {name}"] += 1
            self._log(name)
            await faults[name]()

    async def _kill_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.kill)
        await asyncio.sleep(self._random.uniform(0, 1))
        await asyncio.to_thread(self._postgres.start)

    async def _restart_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.to_thread(self._postgres.start)

    async def _pause_postgres(self) -> None:
        self._postgres.pause(True)
        await asyncio.sleep(self._random.uniform(0.2, 2))
        self._postgres.pause(False)

    async def _end_sessions(self) -> None:
        await asyncio.to_thread(
            self._postgres.execute,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'hub outbox%'",
        )

    async def _kill_consumer(self) -> None:
        self._random.choice(self._consumers).kill()

    async def _stop_consumer(self) -> None:
        self._random.choice(self._consumers).terminate()

    async def _pause_consumer(self) -> None:
        consumer = self._random.choice(self._consumers)
        consumer.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.2, 4))
        consumer.send_signal(signal.SIGCONT)

    async def _kill_broker(self) -> None:
        await self._valkey.kill()
        await asyncio.sleep(self._random.uniform(0, 1))
        await self._valkey.start()

    async def _pause_broker(self) -> None:
        self._valkey.stall(True)
        await asyncio.sleep(self._random.uniform(0.2, 4))
        self._valkey.stall(False)

    async def _drain(self) -> None:
        """Return when no row waits, or after a time limit; then rows count as lost."""
        connection = await asyncpg.connect(self._url)
        deadline = time.monotonic() + _DRAIN_SECONDS
        while await connection.fetchval("SELECT count(*) FROM hub_outbox"):
            if time.monotonic() > deadline:
                self.problems.append("the outbox was not drained in time")
                break
            await asyncio.sleep(0.05)
        await connection.close()

    async def _compare(self) -> None:
        connection = await asyncpg.connect(self._url)
        ledger = await connection.fetch("SELECT id, recipient, writer, number FROM ledger")
        refused = await connection.fetch("SELECT id, recipient FROM hub_outbox_refused")
        await connection.close()
        committed = {row["id"]: row["recipient"] for row in ledger}
        self.counts["rows committed"] = len(committed)
        missing = self._acknowledged - committed.keys()
        if missing:
            self.problems.append(f"{len(missing)} acknowledged rows are not in the database")
        bad = {row for row, recipient in committed.items() if recipient == _BAD_RECIPIENT}
        self.counts["rows refused"] = len(refused)
        if {row["id"] for row in refused} != bad:
            self.problems.append("the refused rows are not those with a bad recipient")
        published: Counter[UUID] = Counter()
        for n in range(_USERS):
            events = await self._read(f"u{n}")
            published.update(UUID(each["id"]) for each in events)
            self._check_order(f"u{n}", events)
        self.counts["rows published"] = len(published)
        self.counts["rows out of order"] += 0  # so that the total is printed
        self._check("lost", committed.keys() - bad - published.keys())
        self._check("not committed", published.keys() - committed.keys())
        self._check("published twice", {row for row, count in published.items() if count > 1})

    def _check(self, what: str, rows: set[UUID]) -> None:
        self.counts[f"rows {what}"] = len(rows)
        if rows:
            self.problems.append(f"{what}: {', '.join(sorted(map(str, rows))[:5])}")

    def _check_order(self, user: str, events: Sequence[dict[str, Any]]) -> None:
        newest: defaultdict[int, int] = defaultdict(int)
        for each in events:
            if each["number"] < newest[each["writer"]]:
                self.counts["rows out of order"] += 1
                self.problems.append(f"{user}: {each} after {newest[each['writer']]}")
            newest[each["writer"]] = each["number"]

    async def _read(self, user: str) -> list[dict[str, Any]]:
        """Return the data of the events of a user."""
        channel, after, events = user_channel(user), FROM_START, []
        redis = {**self._settings["redis"], "timeout_seconds": 60.0}  # the machine may be slow
        async with open_backend(Settings(**{**self._settings, "redis": redis}), ()) as backend:
            while True:
                pages = await backend.events.read(
                    {channel: after}, max_events=1000, max_bytes=10**7
                )
                page = pages[channel]
                events += [json.loads(event.data) for event in page.events]
                if after == page.end or not page.events:
                    return events
                after = page.end


def main(arguments: list[str]) -> int:
    """Parse the command line, run, and print the totals; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak outbox", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--writers", type=int, default=12)
    parser.add_argument("--consumers", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2, help="mean seconds between two faults")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    args = parser.parse_args(arguments)
    soak = asyncio.run(_run(args))
    print(f"{'seed':40}{args.seed:>12}")
    for name, count in sorted(soak.counts.items()):
        print(f"{name:40}{count:>12}")
    for problem in soak.problems[:20]:
        print(problem)
    return 1 if soak.problems else 0


async def _run(args: argparse.Namespace) -> OutboxSoak:
    started = time.monotonic()

    def log(message: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {message}", file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        folder = temporary_folder("outbox", stack)
        folder.chmod(0o755)
        soak = OutboxSoak(folder, seed=args.seed, log=log)
        await soak.run(
            args.minutes * 60, writers=args.writers, consumers=args.consumers, pause=args.pause
        )
    return soak
