"""Chaos: nodes, workers and Redis under Sentinel get faults, while users ask and read answers.

Every answer must end exactly once with the right text. Exit with 1 if one does not.
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
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import aiohttp
import redis

from tests.conftest import short_folder
from tests.e2e.cluster import Cluster, Process
from tests.soak.answers import AnswerLedger, User
from tests.topologies import SentinelSetup, TcpServer, fake_clock, valkey_binary

LEASE_SECONDS: Final = 4.0
_SKEWS: Final = (-3600, 0, 3600)  # seconds
_INTERVAL_SECONDS: Final = 0.1  # between two checks of the roles


class Member:
    """A node or a worker that can be frozen, killed and started again with another clock."""

    def __init__(self, start: Callable[[], Awaitable[Process]]) -> None:
        self._start = start
        self.process: Process

    async def start(self) -> None:
        self.process = await self._start()

    def send(self, signum: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signum)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.process.wait()


class RoleWatch:
    """Follows which server is the primary, and records when acknowledged writes may be lost.

    Sentinel loses writes whenever the primary changes: from the last moment at which one server was
    the primary and the other one its connected replica, until they are so again. On a busy machine,
    Sentinel also changes the primary without a fault of this module.
    """

    def __init__(self, sentinel: SentinelSetup, ledger: AnswerLedger) -> None:
        self._sentinel = sentinel
        self._ledger = ledger
        self._primary: TcpServer | None = None  # None while the roles are not settled
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Follow the roles until cancelled."""
        last_primary: TcpServer | None = None
        settled_at, has_changed = time.monotonic(), False
        while True:
            checked_at = time.monotonic()
            primary, is_settled = await self._check()
            if primary is not None and primary is not last_primary:
                has_changed, last_primary = last_primary is not None, primary
            if is_settled:
                if has_changed:
                    self._ledger.record_loss(settled_at - _INTERVAL_SECONDS, time.monotonic())
                settled_at, has_changed = checked_at, False
            async with self._changed:
                self._primary = primary if is_settled else None
                self._changed.notify_all()
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def settled(self) -> tuple[TcpServer, TcpServer]:
        """Wait until the roles are settled, and return the primary and the replica."""
        async with asyncio.timeout(120), self._changed:
            await self._changed.wait()  # a check from now on
            await self._changed.wait_for(lambda: self._primary is not None)
            first, second = self._sentinel.master, self._sentinel.replica
            return (first, second) if self._primary is first else (second, first)

    async def until_not_primary(self, server: TcpServer, *, seconds: float = 120) -> None:
        """Wait until Sentinel names another primary. Raise TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds):
            while await self._named_primary() in (None, server):
                await asyncio.sleep(_INTERVAL_SECONDS)

    async def _check(self) -> tuple[TcpServer | None, bool]:
        """Return the primary that Sentinel names, and whether the other server is its replica."""
        primary = await self._named_primary()
        if primary is None:
            return None, False
        first, second = self._sentinel.master, self._sentinel.replica
        replica = second if primary is first else first
        info = await self._info(replica)
        is_replica = (
            f"master_port:{primary.port}".encode() in info and b"master_link_status:up" in info
        )
        return primary, is_replica and b"role:master" in await self._info(primary)

    async def _named_primary(self) -> TcpServer | None:
        ask = self._sentinel.sentinels[0].ask
        reply = await asyncio.to_thread(ask, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "hub")
        servers = (self._sentinel.master, self._sentinel.replica)
        return next((each for each in servers if each.port == int(reply[1])), None)

    @staticmethod
    async def _info(server: TcpServer) -> bytes:
        try:
            info: bytes = await asyncio.to_thread(server.ask, "INFO", "replication")
        except (redis.RedisError, OSError):
            return b""
        return info


class ChaosFaults:
    """The faults. Every public coroutine except `run` is one, and undoes itself."""

    def __init__(
        self,
        cluster: Cluster,
        sentinel: SentinelSetup,
        workers: Sequence[Member],
        roles: RoleWatch,
        seed: int,
    ) -> None:
        self._cluster = cluster
        self._sentinel = sentinel
        self._workers = workers
        self._roles = roles
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def names(self) -> list[str]:
        """Return the names of all faults."""
        return [
            name
            for name, member in vars(ChaosFaults).items()
            if not name.startswith("_") and asyncio.iscoroutinefunction(member) and name != "run"
        ]

    async def run(
        self,
        names: Sequence[str],
        pause_seconds: float,
        log: Callable[[str], None],
        ended: asyncio.Event,
    ) -> None:
        """Inject all faults in random order, again and again. After `ended`, undo the last one."""
        while True:
            order = list(names)
            self._random.shuffle(order)
            for name in order:
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * pause_seconds)
                if ended.is_set():
                    return
                log(name)
                fault: Callable[[], Awaitable[None]] = getattr(self, name)
                await fault()
                self.done[name] += 1

    async def freeze_worker(self) -> None:
        """A worker stops (SIGSTOP) for up to two leases, and continues."""
        worker = self._random.choice(self._workers)
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.2, 2.2) * LEASE_SECONDS)
        worker.send(signal.SIGCONT)

    async def freeze_two_workers(self) -> None:
        """Two workers stop, and continue one after the other."""
        frozen = self._random.sample(list(self._workers), 2)
        for worker in frozen:
            worker.send(signal.SIGSTOP)
            await asyncio.sleep(self._random.uniform(0, 1) * LEASE_SECONDS)
        for worker in frozen:
            await asyncio.sleep(self._random.uniform(0, 1) * LEASE_SECONDS)
            worker.send(signal.SIGCONT)

    async def restart_worker_with_another_clock(self) -> None:
        """A worker is killed, and starts with a clock that may differ by an hour."""
        worker = self._random.choice(self._workers)
        await worker.kill()
        self._cluster.set_environment(fake_clock(self._random.choice(_SKEWS)))
        await worker.start()

    async def promote_replica(self) -> None:
        """Sentinel promotes the replica in an orderly way; the next call fails back.

        Sentinel abandons a fail-over that takes longer than its failover-timeout, so the request is
        repeated.
        """
        primary, _ = await self._roles.settled()
        async with asyncio.timeout(120):
            is_primary = True
            while is_primary:
                with suppress(redis.RedisError):  # it already changes the primary, or just has
                    ask = self._sentinel.sentinels[0].ask
                    await asyncio.to_thread(ask, "SENTINEL", "FAILOVER", "hub")
                with suppress(TimeoutError):
                    await self._roles.until_not_primary(primary, seconds=10)
                    is_primary = False
        await self._roles.settled()

    async def cut_replication(self) -> None:
        """The replica loses its connection for a while, and copies the rest later."""
        primary, _ = await self._roles.settled()
        await self._stop_replication(primary)
        await asyncio.sleep(self._random.uniform(0.5, 3))
        await self._allow_replication(primary)
        await self._roles.settled()

    async def fail_over_with_cut_replication(self) -> None:
        """The primary is killed while the replica lacks its last writes; both change roles.

        The old primary starts again as a replica, with a clock that may differ by an hour.
        """
        primary, replica = await self._roles.settled()
        await self._stop_replication(primary)
        await asyncio.sleep(self._random.uniform(0.3, 2))
        await asyncio.to_thread(primary.kill)
        await self._roles.until_not_primary(primary)
        environment = fake_clock(self._random.choice(_SKEWS))
        primary.prefix = ["env", *(f"{name}={value}" for name, value in environment.items())]
        # It has no data: as a primary, until Sentinel notices it, it would answer with nothing.
        primary.more_options = ("--replicaof", f"127.0.0.1 {replica.port}")
        await asyncio.to_thread(primary.start)
        await self._roles.settled()

    @staticmethod
    async def _stop_replication(primary: TcpServer) -> None:
        """Close the connection of the replica, and refuse a new one."""
        await asyncio.to_thread(primary.ask, "ACL", "SETUSER", "default", "-psync", "-sync")
        await asyncio.to_thread(primary.ask, "CLIENT", "KILL", "TYPE", "replica")

    @staticmethod
    async def _allow_replication(primary: TcpServer) -> None:
        await asyncio.to_thread(primary.ask, "ACL", "SETUSER", "default", "+@all")


def main(arguments: Sequence[str]) -> int:
    """Parse the command line and run; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--pause", type=float, default=3, help="mean seconds between two faults")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="primaries accept writes without a replica, so that fail-overs lose more of them",
    )
    parser.add_argument("--faults", help="comma-separated names of faults (default: all)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--json", type=Path, help="also write the totals to this file")
    args = parser.parse_args(arguments)
    return 0 if asyncio.run(chaos(args)).clean else 1


async def chaos(args: argparse.Namespace) -> AnswerLedger:
    """Start everything, inject faults, and check every answer."""
    folder = short_folder("chaos")
    started, ledger, interrupted = time.monotonic(), AnswerLedger(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, interrupted.set)

    def log(message: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {message}", file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        options = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
        sentinel = await asyncio.to_thread(
            SentinelSetup, valkey_binary(), *(() if args.alone else options)
        )
        stack.callback(sentinel.close)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        cluster = Cluster(folder, stack, session, has_fresh_processes=True)
        await cluster.add_upstream("sim", tokens_per_second=25.0)
        cluster.set("REDIS__URL", sentinel.url)
        cluster.set("WORKER__LEASE_SECONDS", str(LEASE_SECONDS))
        cluster.set("GENERATIONS__MAX_ATTEMPTS", "1000")  # no fault may use them up
        cluster.set("LOG__USER__MAX_EVENTS", "100000")
        cluster.set("LOG__USER__TTL_SECONDS", "86400")  # longer than clocks differ
        cluster.set("GENERATIONS__TTL_SECONDS", "86400")
        cluster.set("STREAM__HEARTBEAT_SECONDS", "1")
        urls = []
        for skew in _SKEWS:
            cluster.set_environment(fake_clock(skew))
            await cluster.start_node()
            urls.append(cluster.url)
        workers = [Member(cluster.start_ready_worker) for _ in range(3)]
        for worker, skew in zip(workers, _SKEWS, strict=True):
            cluster.set_environment(fake_clock(skew))
            await worker.start()
        skewed = bool(fake_clock(1))
        log(f"{args.users} users, seed {args.seed}, logs in {folder}, other clocks: {skewed}")

        roles = RoleWatch(sentinel, ledger)
        watching = asyncio.create_task(roles.run())
        faults = ChaosFaults(cluster, sentinel, workers, roles, args.seed)
        names = args.faults.split(",") if args.faults else faults.names()
        users = [User(f"u{n}", urls, session, ledger, args.seed + n) for n in range(args.users)]
        readers = [asyncio.create_task(user.read()) for user in users]
        askers = [asyncio.create_task(user.ask_all(interrupted.is_set)) for user in users]
        injecting = asyncio.create_task(faults.run(names, args.pause, log, interrupted))
        with suppress(TimeoutError):
            async with asyncio.timeout(args.minutes * 60):
                await asyncio.wait(
                    [asyncio.create_task(interrupted.wait()), injecting],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        if injecting.done() and not interrupted.is_set():
            ledger.add_violation("fault", repr(injecting.exception()))
        interrupted.set()
        await asyncio.gather(injecting, return_exceptions=True)
        for worker in workers:
            worker.send(signal.SIGCONT)
        log("the faults end")
        with suppress(TimeoutError):
            await roles.settled()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await asyncio.gather(*askers)
        await asyncio.gather(*(user.check() for user in users))
        for reader in readers:
            reader.cancel()
    ledger.close()
    report(ledger, faults, args)
    return ledger


def report(ledger: AnswerLedger, faults: ChaosFaults, args: argparse.Namespace) -> None:
    """Print the totals, and write them to the file of --json."""
    rows = {
        **dict(sorted(ledger.counts.items())),
        **{f"fault {name}": count for name, count in sorted(faults.done.items())},
        **{f"VIOLATION {kind}": count for kind, count in sorted(ledger.violations.items())},
        "violations": sum(ledger.violations.values()),
    }
    for name, value in rows.items():
        print(f"{name:52}{value:>8}")
    for case in ledger.cases:
        print(case)
    if args.json:
        args.json.write_text(json.dumps({**rows, "seed": args.seed, "cases": ledger.cases}))
