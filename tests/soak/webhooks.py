"""Webhooks under faults: a receiver gets every event, in order per user.

Drivers start answers, publish items and read them. The receiver dies, hangs, redirects, fails and
loses its responses, workers and nodes are killed and paused, Valkey is killed, and the network
breaks. In the end, what the receiver has accepted is compared with the logs of the users. Exit with
1 if an event has no webhook, if a webhook has no event, or if the order is another one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from hub.core.channel import user_channel
from hub.http.server import ListenAddress, listen
from hub.ports.events import FROM_START
from hub.settings import Settings
from hub.upstreams.simulated.answers import choose_answer
from hub.upstreams.simulated.server import SimulatedUpstream
from hub.wiring.backend import open_backend
from tests.defaults import simulation
from tests.faults import FaultProxy
from tests.soak.run import Soak, add_options, chosen_faults, print_totals, start_soak, until
from tests.soak.schedule import Faults
from tests.soak.webhook_ledger import WebhookLedger, logged_name
from tests.webhooks.receiver import SECRET, Receiver

_DRAIN_SECONDS: Final = 120.0
_LOG: Final = {"max_events": 10**6, "max_bytes": 10**9, "ttl_seconds": 86_400.0}


class WebhookFaults(Faults):
    """Faults of the receiver and of workers, and all others that keep the data of the broker.

    proxy: what leads to the receiver.
    """

    def __init__(self, soak: Soak, receiver: Receiver, proxy: FaultProxy) -> None:
        super().__init__(soak)
        self._receiver = receiver
        self._proxy = proxy

    async def kill_receiver(self) -> None:
        """The receiver dies, and refuses connections for some seconds."""
        self._proxy.refusing = True
        self._proxy.reset_all()
        await self._pause()
        self._proxy.heal()

    async def hang_receiver(self) -> None:
        """The receiver does not answer for some seconds."""
        self._proxy.blackhole()
        await self._pause()
        self._proxy.heal()

    async def lose_responses_of_receiver(self) -> None:
        """The receiver accepts webhooks, but its responses are lost."""
        for _ in range(10):
            self._proxy.drop_replies()
            await asyncio.sleep(0.2)

    async def redirect_from_receiver(self) -> None:
        """The receiver redirects for some seconds; redirects are not followed."""
        await self._respond(302, {"Location": "/elsewhere"})

    async def fail_receiver(self) -> None:
        """The receiver fails for some seconds, and asks for a pause that is too long."""
        await self._respond(503, {"Retry-After": "31536000"})

    async def kill_worker(self) -> None:
        """A worker is killed and restarts."""
        await self._restart(self._worker(), signal.SIGKILL)

    async def stop_worker(self) -> None:
        """A worker ends after SIGTERM and restarts."""
        await self._restart(self._worker(), signal.SIGTERM)

    async def stall_worker(self) -> None:
        """The process of a worker is paused for longer than its leases."""
        worker = self._worker()
        worker.stall(True)
        await asyncio.sleep(self._random.uniform(0.5, 8))
        worker.stall(False)

    async def _respond(self, status: int, headers: dict[str, str]) -> None:
        async def respond(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers=headers)

        self._receiver.respond = respond
        await self._pause()
        self._receiver.respond = None

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.uniform(0.5, 6))

    def _worker(self) -> Any:
        return self._random.choice(self._soak.workers)


class Driver:
    """Starts answers of one user, publishes items and reads them. texts: of the answers, by id."""

    def __init__(self, soak: Soak, user: str, texts: dict[str, str]) -> None:
        self._soak = soak
        self._user = user
        self._texts = texts
        self._number = 0

    async def run(self, pause_seconds: float) -> None:
        """Go on until the soak says that drivers end."""
        pick = self._soak.random
        while self._soak.is_driving:
            self._number += 1
            await pick.choice([self._ask, self._ask, self._publish, self._read])()
            await asyncio.sleep(pick.uniform(0, 2) * pause_seconds)

    async def _ask(self) -> None:
        prompt = f"count to {self._soak.random.randrange(3, 30)}"
        body = {"prompt": prompt, "id": f"{self._user}-{self._number}"}
        started = await self._soak.call("POST", f"/generations?user={self._user}", body)
        self._texts[started["generation"]] = choose_answer(prompt)

    async def _publish(self) -> None:
        body = {
            "to": {"user": self._user},
            "id": f"{self._user}/{self._number}",
            "data": {},
            "inbox": True,
        }
        await self._soak.call("POST", "/publish", body, internal=True)

    async def _read(self) -> None:
        page = await self._soak.call("GET", f"/inbox?user={self._user}&unread=true")
        if page["items"]:
            body = {"up_to": page["items"][0]["id"]}
            await self._soak.call("POST", f"/inbox/read?user={self._user}", body)


async def soak_webhooks(options: argparse.Namespace) -> WebhookLedger:
    """Start the processes, drive answers and inboxes under faults, and return the ledger."""
    ledger, receiver = WebhookLedger(), Receiver()
    async with AsyncExitStack() as stack:
        await receiver.server.start_server()
        stack.push_async_callback(receiver.server.close)
        assert receiver.server.port is not None
        proxy = await stack.enter_async_context(FaultProxy(("127.0.0.1", receiver.server.port)))
        settings = await _settings(stack, proxy)
        soak = await stack.enter_async_context(
            start_soak("webhooks", options, settings, workers=options.workers)
        )
        texts: dict[str, str] = {}
        users = [f"u{n}" for n in range(options.users)]
        async with asyncio.TaskGroup() as group:
            drivers = [
                group.create_task(Driver(soak, user, texts).run(options.request_pause))
                for user in users
            ]
            faults = WebhookFaults(soak, receiver, proxy)
            names = chosen_faults(faults, options.faults)
            await soak.run_faults(faults, names, options.pause, options.minutes)
            receiver.respond = None
            proxy.heal()
            soak.is_driving = False
            await asyncio.gather(*drivers)
        soak.log("the faults end")
        await until(lambda: _has_ended(receiver, texts), _DRAIN_SECONDS)
        await _until_drained(soak)
        logs = await _read_logs(f"unix://{soak.valkey.socket}", users)
        ledger.compare(logs, receiver.received, texts)
        ledger.totals["answers"] = len(texts)
        ledger.totals["requests to the receiver"] = receiver.requests
        ledger.totals.update(soak.counts)
    return ledger


async def _settings(stack: AsyncExitStack, receiver: FaultProxy) -> dict[str, str]:
    """Start the simulated LLM, and return the settings of nodes and workers."""
    app = SimulatedUpstream(simulation(tokens_per_second=200.0, first_token_seconds=0.0)).app()
    port = await stack.enter_async_context(
        listen(
            app,
            ListenAddress("127.0.0.1", 0, "x"),
            cancel_handlers=True,
            shutdown_timeout_seconds=0.1,
        )
    )
    endpoint = {
        "url": f"{receiver.url}/hook",
        "secrets": [SECRET],
        "include": "record",
        "allow_private": True,
        "events": ["generation.done", "generation.stopped", "generation.failed", "inbox.read"],
    }
    deliveries = {"poll": 0.2, "min_retry": 0.1, "max_retry": 1.0, "timeout": 1.5}
    return {
        "HUB_UPSTREAMS__SIM__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "HUB_UPSTREAMS__SIM__DEFAULT_MODEL": "simulated-1",
        "HUB_GENERATIONS__MAX_ATTEMPTS": "1000",
        "HUB_WORKER__LEASE_SECONDS": "4",
        "HUB_NODE__DRAIN_SECONDS": "1",
        "HUB_WEBHOOKS": json.dumps([endpoint]),
        **{f"HUB_DELIVERIES__{name}_SECONDS".upper(): str(n) for name, n in deliveries.items()},
        **{f"HUB_LOG__USER__{name}".upper(): str(value) for name, value in _LOG.items()},
    }


def _has_ended(receiver: Receiver, texts: dict[str, str]) -> bool:
    """Return whether the webhook of each answer has arrived."""
    return texts.keys() <= {body["data"].get("generation") for _, body in receiver.received}


async def _until_drained(soak: Soak) -> None:
    """Wait until no delivery waits, or until the limit of time."""
    async with open_backend(_backend_settings(f"unix://{soak.valkey.socket}"), ()) as backend:
        counts = await backend.deliveries.counts("webhook")
        for _ in range(int(_DRAIN_SECONDS)):
            if not counts.waiting:
                break
            await asyncio.sleep(1)
            counts = await backend.deliveries.counts("webhook")
        soak.counts["deliveries that wait"] = counts.waiting
        soak.counts["dead letters"] = counts.dead
        soak.counts["bytes of deliveries that are stored"] = counts.bytes


def _backend_settings(url: str) -> Settings:
    settings: dict[str, Any] = {"redis": {"url": url}, "log": {"user": _LOG}}
    return Settings(**settings)


async def _read_logs(url: str, users: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the events that need webhooks, by user."""
    logs: dict[str, list[str]] = {}
    async with open_backend(_backend_settings(url), ()) as backend:
        for user in users:
            channel, after, names = user_channel(user), FROM_START, logs.setdefault(user, [])
            while True:
                pages = await backend.events.read(
                    {channel: after}, max_events=1000, max_bytes=10**7
                )
                page = pages[channel]
                for event in page.events:
                    name = logged_name(event.name, json.loads(event.data))
                    names += [] if name is None else [name]
                if after == page.end or not page.events:
                    break
                after = page.end
    return logs


def main(arguments: Sequence[str]) -> int:
    """Run it, and print the ledger. Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/soak webhooks", description=__doc__)
    add_options(parser)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--request-pause", type=float, default=0.5, help="mean seconds between two requests"
    )
    ledger = asyncio.run(soak_webhooks(parser.parse_args(arguments)))
    print_totals({**ledger.violations, **dict(sorted(ledger.totals.items()))}, ledger.cases)
    return 0 if ledger.is_clean else 1
