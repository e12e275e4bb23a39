"""What the soaks have in common: Valkey, nodes and workers behind fault proxies, and the time in
which faults are injected.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.conftest import short_folder
from tests.faults import FaultProxy
from tests.processes import HubMember, Node, Valkey, Worker
from tests.soak.schedule import Faults

_REQUEST: Final = aiohttp.ClientTimeout(total=5)


class Soak:
    """The processes of one soak, and what its clients share.

    counts: totals for the report. responses: the open streams by client, with their nodes.
    is_driving: whether the drivers go on.
    """

    def __init__(self, folder: Path, session: aiohttp.ClientSession, seed: int) -> None:
        self.folder = folder
        self.session = session
        self.seed = seed
        self.random = random.Random(seed)
        self.valkey = Valkey(folder)
        self.nodes: list[Node] = []
        self.workers: list[Worker] = []
        self.counts: Counter[str] = Counter()
        self.responses: dict[str, tuple[Node, aiohttp.ClientResponse]] = {}
        self.is_driving = True
        self._started = time.monotonic()

    @property
    def members(self) -> Sequence[HubMember]:
        """All processes of the hub."""
        return [*self.nodes, *self.workers]

    def log(self, message: str) -> None:
        """Print what happens."""
        seconds = time.monotonic() - self._started
        print(f"{seconds:7.1f} s  {message}", file=sys.stderr, flush=True)

    def drop(self, node: Node) -> None:
        """Close the streams of all clients of a node."""
        for of_node, response in list(self.responses.values()):
            if of_node is node:
                response.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        internal: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request to random nodes until one accepts it, and return the body."""
        while True:
            node = self.random.choice(self.nodes)
            url = (node.internal_url if internal else node.url) + path
            try:
                async with self.session.request(
                    method, url, json=body, headers=headers, timeout=_REQUEST
                ) as response:
                    if response.status < 300:
                        return await response.json()
                    if response.status != 503:
                        raise AssertionError(f"{response.status} {await response.text()}")
                    self.counts["503"] += 1
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.counts["requests without a response"] += 1
            await asyncio.sleep(0.1)

    async def run_faults(
        self, faults: Faults, names: Sequence[str], pause_seconds: float, minutes: float
    ) -> None:
        """Inject faults, until the time is over or a signal comes. Then undo the last one.

        names: the faults; none of them makes a soak without faults.
        """
        interrupted = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, interrupted.set)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(interrupted.wait())]
        if names:
            tasks.append(asyncio.create_task(faults.run(names, pause_seconds, self.log)))
        done, _ = await asyncio.wait(
            tasks, timeout=minutes * 60, return_when=asyncio.FIRST_COMPLETED
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()  # raises the error of a fault
        self.counts.update({f"fault {name}": count for name, count in faults.done.items()})
        await self._heal()

    async def _heal(self) -> None:
        """Undo a fault that was interrupted."""
        self.valkey.stall(False)
        if b"PONG" not in await self.valkey.ask("PING"):
            await self.valkey.kill()
            await self.valkey.start()
        for member in self.members:
            member.proxy.heal()
            member.stall(False)
            if member.has_ended:
                await member.start(self.session)


@asynccontextmanager
async def start_soak(
    name: str,
    options: argparse.Namespace,
    settings: Mapping[str, str],
    *,
    workers: int = 0,
) -> AsyncIterator[Soak]:
    """Start Valkey, nodes and workers; all of them are killed at the end.

    name: of the folder of their logs. options: those of `add_options`. settings: variables of the
    environment of nodes and workers.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        soak = Soak(short_folder(name), session, options.seed)
        stack.push_async_callback(soak.valkey.kill)
        await soak.valkey.start()

        async def add(kind: type[Node] | type[Worker], name: str) -> Any:
            proxy = await stack.enter_async_context(FaultProxy(soak.valkey.socket))
            member = kind(name, proxy, soak.folder / f"{name}.log", settings)
            stack.push_async_callback(member.end, signal.SIGKILL)
            return member

        soak.nodes = [await add(Node, f"n{n + 1}") for n in range(options.nodes)]
        soak.workers = [await add(Worker, f"w{n + 1}") for n in range(workers)]
        await asyncio.gather(*(member.start(session) for member in soak.members))
        soak.log(f"{len(soak.members)} processes, seed {soak.seed}, logs in {soak.folder}")
        yield soak


def add_options(parser: argparse.ArgumentParser, *, pause: float = 2.0) -> None:
    """Add the options that all soaks have. pause: the default of --pause."""
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument(
        "--pause", type=float, default=pause, help="mean number of seconds between two faults"
    )
    parser.add_argument(
        "--faults", help="comma-separated names of faults, or `none` (default: all)"
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))


def chosen_faults(faults: Faults, option: str | None) -> Sequence[str]:
    """Return the faults that --faults names."""
    if option is None:
        return faults.names()
    return [] if option == "none" else option.split(",")


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds, at most so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)


def print_totals(rows: Mapping[str, object], cases: Iterable[str]) -> None:
    """Print totals, one a line, and the descriptions of violations."""
    for name, value in rows.items():
        print(f"{name:40}{value!s:>12}")
    for case in cases:
        print(case)
