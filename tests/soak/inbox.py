"""Inboxes under faults: every device of a user shows the same whenever nothing is in flight.

Each user has three tabs, a phone that is offline again and again, and a page that is reloaded. A
driver per user publishes items and reads, archives and deletes them, while Valkey is killed, nodes
are killed, drained and stalled, and the network breaks. Again and again it waits until nothing is
in flight, and compares what every device and the hub show with what it did.
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
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import aiohttp
import msgspec

from hub.core.sse_decoder import SseDecoder
from tests.conftest import short_folder
from tests.faults import FaultProxy
from tests.processes import Node, Valkey
from tests.soak.inbox_ledger import DeviceState, ExpectedInbox, InboxLedger, unread_of
from tests.soak.schedule import Faults

_REQUEST: Final = aiohttp.ClientTimeout(total=5)
_STREAM: Final = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=6)
_QUIET_SECONDS: Final = 40.0
_DEVICES: Final = ("tab 1", "tab 2", "tab 3", "phone", "reloaded page")
_MAX_ITEMS: Final = 60
_KEYS: Final = 8
_WITHOUT: Final = "restart_broker_empty"  # a broker without its data has no inboxes


class InboxTraffic:
    """What drivers and devices share; also the traffic of Faults."""

    def __init__(
        self, nodes: Sequence[Node], session: aiohttp.ClientSession, ledger: InboxLedger, seed: int
    ) -> None:
        self.nodes = nodes
        self.session = session
        self.ledger = ledger
        self.random = random.Random(seed)
        self.driving = True
        self.counts: Counter[str] = Counter()
        self.responses: dict[str, tuple[Node, aiohttp.ClientResponse]] = {}

    def drop(self, node: Node) -> None:
        """Close the connections of all devices of a node."""
        for of_node, response in list(self.responses.values()):
            if of_node is node:
                response.close()

    async def call(
        self, method: str, path: str, body: Any = None, *, internal: bool = False
    ) -> Any:
        """Send a request to random nodes until one answers."""
        while True:
            node = self.random.choice(self.nodes)
            url = (node.internal_url if internal else node.url) + path
            try:
                async with self.session.request(
                    method, url, json=body, timeout=_REQUEST
                ) as response:
                    if response.status == 200:
                        return await response.json()
                    if response.status != 503:
                        raise AssertionError(f"{response.status} {await response.text()}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.counts["requests without a response"] += 1
            await asyncio.sleep(0.1)


class Device:
    """One device of a user."""

    def __init__(self, traffic: InboxTraffic, user: str, kind: str) -> None:
        self.state: DeviceState | None = None
        self.name = f"{user} {kind}"
        self._traffic = traffic
        self._user = user
        self._kind = kind

    async def run(self) -> None:
        """Load the inbox, and follow it, until cancelled."""
        pick = self._traffic.random.uniform
        while True:
            if self.state is None:
                page = await self._traffic.call("GET", f"/inbox?user={self._user}&limit=200")
                self.state = DeviceState(self.name, self._traffic.ledger, page)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._kind.startswith("tab") else pick(2, 8)):
                    await self._follow()
                    await asyncio.sleep(pick(0.05, 0.5))
                    continue
            if self._kind == "phone":
                await asyncio.sleep(pick(1, 6))
            else:
                self.state = None
                self._traffic.counts["reloads"] += 1

    async def _follow(self) -> None:
        """Read the stream until it breaks, or until a reset."""
        traffic, state = self._traffic, self.state
        assert state is not None
        node = traffic.random.choice(traffic.nodes)
        headers = {"Last-Event-ID": state.cursor}
        try:
            async with traffic.session.get(
                f"{node.url}/sse/connect/{self._user}", headers=headers, timeout=_STREAM
            ) as response:
                if response.status != 200:
                    raise AssertionError(f"{response.status} {await response.text()}")
                traffic.responses[self.name] = node, response
                decoder = SseDecoder()
                async for chunk in response.content.iter_any():
                    for event in decoder.feed(chunk):
                        if event.name == "hub.reset":
                            traffic.counts["resets"] += 1
                            self.state = None
                            return
                        state.apply(event.name, msgspec.json.decode(event.data))
                        if event.id:
                            state.cursor = event.id
        except (aiohttp.ClientError, OSError) as error:
            if not isinstance(error, TimeoutError) or isinstance(error, aiohttp.ClientError):
                traffic.counts["breaks"] += 1
            else:
                raise
        finally:
            traffic.responses.pop(self.name, None)


class Driver:
    """Publishes and changes the items of one user, and compares."""

    def __init__(self, traffic: InboxTraffic, user: str, devices: Sequence[Device]) -> None:
        self._traffic = traffic
        self._user = user
        self._devices = devices
        self._expected = ExpectedInbox()
        self._published = 0

    async def run(self, pause_seconds: float) -> None:
        """Go on until the traffic ends, and compare at the end."""
        pick = self._traffic.random
        while self._traffic.driving:
            for _ in range(pick.randrange(5, 30)):
                await (self._publish() if pick.random() < 0.6 else self._change())
                await asyncio.sleep(pick.uniform(0, 2) * pause_seconds)
                if not self._traffic.driving:
                    break
            await self._compare()

    async def _publish(self) -> None:
        n = self._published = self._published + 1
        key = f"k{self._traffic.random.randrange(_KEYS)}" if n % 2 else None
        body = {
            "to": {"user": self._user},
            "id": f"{self._user}/{n}",
            "data": {"n": n},
            "inbox": {"key": key} if key else True,
        }
        await self._traffic.call("POST", "/publish", body, internal=True)
        self._expected.publish(n, key)
        self._traffic.ledger.totals["published"] += 1

    async def _change(self) -> None:
        page = await self._traffic.call("GET", f"/inbox?user={self._user}&limit=200")
        items = page["items"]
        if not items:
            return
        chosen = self._traffic.random.sample(items, min(len(items), 3))
        change = self._traffic.random.choice(["read", "read", "archive", "delete"])
        if len(items) > _MAX_ITEMS:
            chosen, change = items[_MAX_ITEMS // 2 :], "delete"
        body = {"items": [item["id"] for item in chosen]}
        await self._traffic.call("POST", f"/inbox/{change}?user={self._user}", body)
        self._expected.change(change, [item["data"]["n"] for item in chosen])
        self._traffic.ledger.totals["changes"] += 1

    async def _compare(self) -> None:
        """Wait until nothing is in flight, and compare all devices and the hub."""
        expected, ledger = self._expected.view(), self._traffic.ledger
        unread = unread_of(expected.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                while not all(self._agrees(device, expected, unread) for device in self._devices):
                    await asyncio.sleep(0.02)
        for device in self._devices:
            if not self._agrees(device, expected, unread):
                shown = device.state.view() if device.state else {}
                ledger.compare(device.name, expected, shown)
                if device.state and shown == expected:
                    ledger.add_violation(
                        "wrong count", f"{device.name}: {device.state.unread}, not {unread}"
                    )
        page = await self._traffic.call("GET", f"/inbox?user={self._user}&limit=200")
        stored = DeviceState(f"{self._user} in the hub", ledger, page)
        ledger.compare(f"{self._user} in the hub", expected, stored.view())
        ledger.totals["comparisons"] += 1

    def _agrees(self, device: Device, expected: Any, unread: int) -> bool:
        state = device.state
        return state is not None and state.unread == unread and state.view() == expected


async def soak(options: argparse.Namespace) -> InboxLedger:
    """Start the processes, drive the inboxes under faults, and return the ledger."""
    folder, started = short_folder("inbox"), time.monotonic()
    ledger = InboxLedger()

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
        for n in range(options.nodes):
            proxy = await stack.enter_async_context(FaultProxy(valkey.socket))
            settings = {"HUB_NODE__DRAIN_SECONDS": "1"}
            node = Node(f"n{n + 1}", proxy, folder / f"n{n + 1}.log", settings)
            stack.push_async_callback(node.end, signal.SIGKILL)
            nodes.append(node)
        await asyncio.gather(*(node.start(session) for node in nodes))
        traffic = InboxTraffic(nodes, session, ledger, options.seed)
        users = [f"u{n}" for n in range(options.users)]
        devices = {user: [Device(traffic, user, kind) for kind in _DEVICES] for user in users}
        faults = Faults(valkey, traffic)  # type: ignore[arg-type] # it uses what both have
        names = [name for name in faults.names() if name != _WITHOUT]
        log(f"{len(users)} users on {len(nodes)} nodes, seed {options.seed}, logs in {folder}")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run()) for of in devices.values() for each in of]
            drivers = [
                group.create_task(Driver(traffic, user, of).run(options.pause))
                for user, of in devices.items()
            ]
            injecting = group.create_task(faults.run(names, options.fault_pause, log))
            await asyncio.sleep(options.minutes * 60)
            injecting.cancel()
            await asyncio.gather(injecting, return_exceptions=True)
            await _heal(valkey, traffic)
            traffic.driving = False
            await asyncio.gather(*drivers)
            for task in tasks:
                task.cancel()
        ledger.totals.update(traffic.counts)
        ledger.totals.update({f"fault {name}": count for name, count in faults.done.items()})
    return ledger


async def _heal(valkey: Valkey, traffic: InboxTraffic) -> None:
    """Undo the fault that was interrupted."""
    valkey.stall(False)
    if b"PONG" not in await valkey.ask("PING"):
        await valkey.kill()
        await valkey.start()
    for node in traffic.nodes:
        node.proxy.heal()
        node.stall(False)
        if node.has_ended:
            await node.start(traffic.session)


def main(arguments: Sequence[str]) -> int:
    """Run it, and print the ledger. Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak inbox", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument(
        "--pause", type=float, default=0.2, help="mean number of seconds between two requests"
    )
    parser.add_argument(
        "--fault-pause", type=float, default=2, help="mean number of seconds between two faults"
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    options = parser.parse_args(arguments)
    ledger = asyncio.run(soak(options))
    for name, count in [*ledger.violations.items(), *sorted(ledger.totals.items())]:
        print(f"{name:32}{count:>12}")
    print("\n".join(ledger.cases))
    return 0 if ledger.is_clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
