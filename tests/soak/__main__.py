"""Run publishers, clients and faults for some minutes, then print the totals.

`scripts/soak chaos` does so with answers instead of events (chaos.py), and `scripts/soak takeovers`
kills workers whose LLM can continue (takeovers.py). `scripts/soak outbox` kills PostgreSQL and the
consumers of the outbox (outbox.py).

Exit with 1 if an event was lost, duplicated or out of order, or if a reset had no cause.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.conftest import short_folder
from tests.faults import FaultProxy
from tests.processes import Node, Valkey
from tests.soak import chaos, inbox, outbox, suspended, takeovers
from tests.soak.ledger import Ledger, Verdict
from tests.soak.schedule import Faults
from tests.soak.traffic import KEY, SECRET, Client, Traffic, publish

_RECOVERY_TIMEOUT_SECONDS = 40.0
_TOPICS = 5
_SETTINGS = {
    "HUB_AUTH__DISABLED": "false",
    "HUB_AUTH__HMAC_SECRET": SECRET,
    "HUB_AUTH__API_KEYS": json.dumps([{"name": "soak", "key": KEY, "scopes": ["publish"]}]),
    "HUB_STREAM__EXPIRY_NOTICE_SECONDS": "1",
    "HUB_NODE__DRAIN_SECONDS": "1",
}


def main() -> int:
    """Parse the command line and run the soak test; return the exit code."""
    if sys.argv[1:2] == ["chaos"]:
        return chaos.main(sys.argv[2:])
    if sys.argv[1:2] == ["outbox"]:
        return outbox.main(sys.argv[2:])
    if sys.argv[1:2] == ["takeovers"]:
        return takeovers.main(sys.argv[2:])
    if sys.argv[1:2] == ["inbox"]:
        return inbox.main(sys.argv[2:])
    if sys.argv[1:2] == ["suspended"]:
        return suspended.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument(
        "--rate", type=float, default=200, help="events per second, over all channels"
    )
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument(
        "--pause", type=float, default=2, help="mean number of seconds between two faults"
    )
    parser.add_argument(
        "--faults", help="comma-separated names of faults, or `none` (default: all)"
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    parser.add_argument("--json", type=Path, help="also write the totals to this file")
    args = parser.parse_args()
    verdict = asyncio.run(soak(args))
    return 0 if verdict.clean else 1


async def soak(args: argparse.Namespace) -> Verdict:
    """Start the processes and the clients, inject faults, and check the deliveries."""
    folder = short_folder("soak")
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, interrupted.set)
    started = time.monotonic()

    def log(message: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {message}", file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        valkey = Valkey(folder)
        stack.push_async_callback(valkey.kill)
        await valkey.start()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        )
        nodes = []
        for n in range(args.nodes):
            proxy = await stack.enter_async_context(FaultProxy(valkey.socket))
            node = Node(f"n{n + 1}", proxy, folder / f"n{n + 1}.log", _SETTINGS)
            stack.push_async_callback(node.end, signal.SIGKILL)
            nodes.append(node)
        await asyncio.gather(*(node.start(session) for node in nodes))

        ledger = Ledger()
        traffic = Traffic(nodes, session, ledger, args.seed)
        clients = []
        for n in range(args.clients):
            topics = [f"t{k}" for k in range(_TOPICS) if (n >> k) & 1]
            clients.append(Client(traffic, f"c{n}", f"u{n % args.users}", topics))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.run()) for client in clients]
            await asyncio.gather(*(client.opened.wait() for client in clients))
            log(f"{len(clients)} clients on {len(nodes)} nodes, seed {args.seed}, logs in {folder}")
            channels = ["all", *(f"user:u{n}" for n in range(args.users))]
            channels += [f"topic:t{n}" for n in range(_TOPICS)]
            pause = len(channels) / args.rate
            publishers = [group.create_task(publish(traffic, c, pause)) for c in channels]
            faults = Faults(valkey, traffic)
            names = args.faults.split(",") if args.faults else faults.names()
            if args.faults != "none":
                tasks.append(group.create_task(faults.run(names, args.pause, log)))
            try:
                async with asyncio.timeout(args.minutes * 60):
                    await interrupted.wait()
            except TimeoutError:
                pass
            await wait_for_recovery(
                traffic, tasks if args.faults != "none" else [], publishers, valkey
            )
            for task in tasks:
                task.cancel()
    verdict = ledger.close()
    report(verdict, traffic, faults, args)
    return verdict


async def wait_for_recovery(
    traffic: Traffic,
    tasks: list[asyncio.Task[None]],
    publishers: list[asyncio.Task[None]],
    valkey: Valkey,
) -> None:
    """End the faults and the publishers, and wait until all clients have received all events."""
    if tasks:
        faults = tasks.pop()
        faults.cancel()
        await asyncio.gather(faults, return_exceptions=True)
    valkey.stall(False)
    if b"PONG" not in await valkey.ask("PING"):
        await valkey.kill()
        await valkey.start()
    for node in traffic.nodes:
        node.proxy.heal()
        node.stall(False)
        if node.has_ended:
            await node.start(traffic.session)
    await asyncio.sleep(1)  # publish after the last fault, so that each gap becomes visible
    traffic.publishing = False
    await asyncio.gather(*publishers)
    try:
        async with asyncio.timeout(_RECOVERY_TIMEOUT_SECONDS):
            while traffic.ledger.count_behind():
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass


def report(verdict: Verdict, traffic: Traffic, faults: Faults, args: argparse.Namespace) -> None:
    """Print the totals, and write them to the file of --json."""
    rows: dict[str, object] = {
        "published": verdict.published,
        "delivered": verdict.delivered,
        "lost": verdict.lost,
        "duplicates": verdict.duplicates,
        "out of order": verdict.out_of_order,
        "resets": verdict.resets,
        "unexplained resets": verdict.unexplained_resets,
        "data losses of the broker": traffic.ledger.data_losses,
        "slowest delivery (s)": round(traffic.slowest_seconds, 2),
        **{name: traffic.counts[name] for name in sorted(traffic.counts)},
        **{f"fault {name}": count for name, count in sorted(faults.done.items())},
    }
    for name, value in rows.items():
        print(f"{name:32}{value:>12}")
    for case in verdict.cases:
        print(case)
    if args.json:
        args.json.write_text(json.dumps({**rows, "seed": args.seed, "cases": verdict.cases}))


if __name__ == "__main__":
    sys.exit(main())
