"""Inboxes under faults: every device of a user shows the same whenever nothing is in flight.

Each user has three tabs, a phone that is offline again and again, and a page that is reloaded. A
driver per user publishes items and reads, archives and deletes them, while Valkey is killed, nodes
are killed, drained and stalled, and the network breaks. Again and again it waits until nothing is
in flight, and compares what every device and the hub show with what it did.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec

from hub.core.sse_decoder import SseDecoder
from tests.soak.inbox_ledger import DeviceState, ExpectedInbox, InboxLedger, unread_of
from tests.soak.run import Soak, add_options, chosen_faults, print_totals, start_soak
from tests.soak.schedule import Faults

_STREAM: Final = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=6)
_QUIET_SECONDS: Final = 40.0
_DEVICES: Final = ("tab 1", "tab 2", "tab 3", "phone", "reloaded page")
_MAX_ITEMS: Final = 60
_KEYS: Final = 8


class Device:
    """One device of a user."""

    def __init__(self, soak: Soak, ledger: InboxLedger, user: str, kind: str) -> None:
        self.state: DeviceState | None = None
        self.name = f"{user} {kind}"
        self._soak = soak
        self._ledger = ledger
        self._user = user
        self._kind = kind

    async def run(self) -> None:
        """Load the inbox, and follow it, until cancelled."""
        pick = self._soak.random.uniform
        while True:
            if self.state is None:
                page = await self._soak.call("GET", f"/inbox?user={self._user}&limit=200")
                self.state = DeviceState(self.name, self._ledger, page)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._kind.startswith("tab") else pick(2, 8)):
                    await self._follow()
                    await asyncio.sleep(pick(0.05, 0.5))
                    continue
            if self._kind == "phone":
                await asyncio.sleep(pick(1, 6))
            else:
                self.state = None
                self._soak.counts["reloads"] += 1

    async def _follow(self) -> None:
        """Read the stream until it breaks, or until a reset."""
        soak, state = self._soak, self.state
        assert state is not None
        node = soak.random.choice(soak.nodes)
        headers = {"Last-Event-ID": state.cursor}
        try:
            async with soak.session.get(
                f"{node.url}/sse/connect/{self._user}", headers=headers, timeout=_STREAM
            ) as response:
                if response.status != 200:
                    raise AssertionError(f"{response.status} {await response.text()}")
                soak.responses[self.name] = node, response
                decoder = SseDecoder()
                async for chunk in response.content.iter_any():
                    for event in decoder.feed(chunk):
                        if event.name == "hub.reset":
                            soak.counts["resets"] += 1
                            self.state = None
                            return
                        state.apply(event.name, msgspec.json.decode(event.data))
                        if event.id:
                            state.cursor = event.id
        except (aiohttp.ClientError, OSError) as error:
            if not isinstance(error, TimeoutError) or isinstance(error, aiohttp.ClientError):
                soak.counts["breaks"] += 1
            else:
                raise
        finally:
            soak.responses.pop(self.name, None)


class Driver:
    """Publishes and changes the items of one user, and compares."""

    def __init__(
        self, soak: Soak, ledger: InboxLedger, user: str, devices: Sequence[Device]
    ) -> None:
        self._soak = soak
        self._ledger = ledger
        self._user = user
        self._devices = devices
        self._expected = ExpectedInbox()
        self._published = 0

    async def run(self, pause_seconds: float) -> None:
        """Go on until the traffic ends, and compare at the end."""
        pick = self._soak.random
        while self._soak.is_driving:
            for _ in range(pick.randrange(5, 30)):
                await (self._publish() if pick.random() < 0.6 else self._change())
                await asyncio.sleep(pick.uniform(0, 2) * pause_seconds)
                if not self._soak.is_driving:
                    break
            await self._compare()

    async def _publish(self) -> None:
        n = self._published = self._published + 1
        key = f"k{self._soak.random.randrange(_KEYS)}" if n % 2 else None
        body = {
            "to": {"user": self._user},
            "id": f"{self._user}/{n}",
            "data": {"n": n},
            "inbox": {"key": key} if key else True,
        }
        await self._soak.call("POST", "/publish", body, internal=True)
        self._expected.publish(n, key)
        self._ledger.totals["published"] += 1

    async def _change(self) -> None:
        page = await self._soak.call("GET", f"/inbox?user={self._user}&limit=200")
        items = page["items"]
        if not items:
            return
        chosen = self._soak.random.sample(items, min(len(items), 3))
        change = self._soak.random.choice(["read", "read", "archive", "delete"])
        if len(items) > _MAX_ITEMS:
            chosen, change = items[_MAX_ITEMS // 2 :], "delete"
        body = {"items": [item["id"] for item in chosen]}
        await self._soak.call("POST", f"/inbox/{change}?user={self._user}", body)
        self._expected.change(change, [item["data"]["n"] for item in chosen])
        self._ledger.totals["changes"] += 1

    async def _compare(self) -> None:
        """Wait until nothing is in flight, and compare all devices and the hub."""
        expected, ledger = self._expected.view(), self._ledger
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
        page = await self._soak.call("GET", f"/inbox?user={self._user}&limit=200")
        stored = DeviceState(f"{self._user} in the hub", ledger, page)
        ledger.compare(f"{self._user} in the hub", expected, stored.view())
        ledger.totals["comparisons"] += 1

    def _agrees(self, device: Device, expected: Any, unread: int) -> bool:
        state = device.state
        return state is not None and state.unread == unread and state.view() == expected


async def soak_inboxes(options: argparse.Namespace) -> InboxLedger:
    """Start the processes, drive the inboxes under faults, and return the ledger."""
    ledger = InboxLedger()
    settings = {"HUB_NODE__DRAIN_SECONDS": "1"}
    async with start_soak("inbox", options, settings) as soak, asyncio.TaskGroup() as group:
        tasks, drivers = [], []
        for user in (f"u{n}" for n in range(options.users)):
            devices = [Device(soak, ledger, user, kind) for kind in _DEVICES]
            tasks += [group.create_task(device.run()) for device in devices]
            driver = Driver(soak, ledger, user, devices)
            drivers.append(group.create_task(driver.run(options.request_pause)))
        faults = Faults(soak)
        names = chosen_faults(faults, options.faults)
        await soak.run_faults(faults, names, options.pause, options.minutes)
        soak.is_driving = False
        await asyncio.gather(*drivers)
        for task in tasks:
            task.cancel()
    ledger.totals.update(soak.counts)
    return ledger


def main(arguments: Sequence[str]) -> int:
    """Run it, and print the ledger. Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak inbox", description=__doc__)
    add_options(parser)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument(
        "--request-pause", type=float, default=0.2, help="mean seconds between two requests"
    )
    ledger = asyncio.run(soak_inboxes(parser.parse_args(arguments)))
    print_totals({**ledger.violations, **dict(sorted(ledger.totals.items()))}, ledger.cases)
    return 0 if ledger.is_clean else 1
