"""Run publishers, clients and faults for some minutes, then print the totals.

`scripts/soak NAME` runs the soak of another module: chaos, inbox, outbox, suspended, takeovers or
webhooks.

Exit with 1 if an event was lost, duplicated or out of order, or if a reset had no cause.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.soak import chaos, inbox, outbox, suspended, takeovers, webhooks
from tests.soak.ledger import Ledger, Verdict
from tests.soak.run import Soak, add_options, chosen_faults, print_totals, start_soak, until
from tests.soak.schedule import Faults
from tests.soak.traffic import KEY, SECRET, Client, publish

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
    others: dict[str, Callable[[list[str]], int]] = {
        module.__name__.rpartition(".")[2]: module.main
        for module in (chaos, inbox, outbox, suspended, takeovers, webhooks)
    }
    if sys.argv[1:2] and sys.argv[1] in others:
        return others[sys.argv[1]](sys.argv[2:])
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    add_options(parser)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument(
        "--rate", type=float, default=200, help="events per second, over all channels"
    )
    parser.add_argument("--json", type=Path, help="also write the totals to this file")
    args = parser.parse_args()
    verdict = asyncio.run(soak_events(args))
    return 0 if verdict.clean else 1


async def soak_events(args: argparse.Namespace) -> Verdict:
    """Start the processes and the clients, inject faults, and check the deliveries."""
    ledger = Ledger()
    async with start_soak("soak", args, _SETTINGS) as soak, asyncio.TaskGroup() as group:
        clients = []
        for n in range(args.clients):
            topics = [f"t{k}" for k in range(_TOPICS) if (n >> k) & 1]
            clients.append(Client(soak, ledger, f"c{n}", f"u{n % args.users}", topics))
        tasks = [group.create_task(client.run()) for client in clients]
        await asyncio.gather(*(client.opened.wait() for client in clients))
        channels = ["all", *(f"user:u{n}" for n in range(args.users))]
        channels += [f"topic:t{n}" for n in range(_TOPICS)]
        pause = len(channels) / args.rate
        publishers = [group.create_task(publish(soak, ledger, c, pause)) for c in channels]
        faults = Faults(soak, ledger.record_data_loss)
        names = chosen_faults(faults, args.faults)
        await soak.run_faults(faults, names, args.pause, args.minutes)
        await asyncio.sleep(1)  # publish after the last fault, so that each gap becomes visible
        soak.is_driving = False
        await asyncio.gather(*publishers)
        await until(lambda: not ledger.count_behind(), _RECOVERY_TIMEOUT_SECONDS)
        for task in tasks:
            task.cancel()
    verdict = ledger.close()
    report(verdict, ledger, soak, args)
    return verdict


def report(verdict: Verdict, ledger: Ledger, soak: Soak, args: argparse.Namespace) -> None:
    """Print the totals, and write them to the file of --json."""
    rows: dict[str, object] = {
        "published": verdict.published,
        "delivered": verdict.delivered,
        "lost": verdict.lost,
        "duplicates": verdict.duplicates,
        "out of order": verdict.out_of_order,
        "resets": verdict.resets,
        "unexplained resets": verdict.unexplained_resets,
        "data losses of the broker": ledger.data_losses,
        "slowest delivery (s)": round(ledger.slowest_seconds, 2),
        **dict(sorted(soak.counts.items())),
    }
    print_totals(rows, verdict.cases)
    if args.json:
        args.json.write_text(json.dumps({**rows, "seed": args.seed, "cases": verdict.cases}))


if __name__ == "__main__":
    sys.exit(main())
