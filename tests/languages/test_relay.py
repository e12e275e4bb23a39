"""Test the Spring application that publishes to the hub and passes streams on by SseEmitter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from hub.core.sse_decoder import SseDecoder
from tests.languages.programs import run_program
from tests.languages.running_hub import KEY, LanguagesHub
from tests.languages.toolchains import command_of
from tests.topologies import free_ports

pytestmark = [
    pytest.mark.languages,
    pytest.mark.timeout(1800),  # the first run builds the program
    pytest.mark.asyncio(loop_scope="session"),
]
TEXTS = [" leading blank", "two\n  lines\n", "plain", {"json": " 你好"}]


@asynccontextmanager
async def run_application(hub: LanguagesHub) -> AsyncIterator[str]:
    """Run the application during the block, and yield its URL."""
    (port,) = free_ports(1)
    arguments = ("relay", hub.url, hub.cluster.internal_url, KEY, str(port))
    async with run_program(command_of("java"), *arguments) as program:
        await program.until(lambda program: "Started" in program.output)
        yield f"http://127.0.0.1:{port}"


class Page:
    """A page of the application: the events that it has received, and its cursor."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.cursor = ""
        self.opened = asyncio.Event()

    async def read(self, url: str, token: str, count: int) -> None:
        """Connect, and read until there are so many events besides those of the hub; then leave."""
        headers = {"Cookie": f"hub_token={token}", "Accept": "text/event-stream"}
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        decoder = SseDecoder()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/events", headers=headers) as response,
        ):
            assert response.status == 200
            async for chunk in response.content.iter_any():
                for event in decoder.feed(chunk):
                    self.cursor = event.id or self.cursor
                    if not event.name.startswith("hub."):
                        self.events.append((event.name, event.data))
                    elif event.name == "hub.open":
                        self.opened.set()
                if len(self.events) >= count:
                    return


async def test_application(hub: LanguagesHub) -> None:
    """Events arrive unchanged and once over a reconnect; a page that leaves ends its stream."""
    user, page = hub.user(), Page()
    token = hub.token(user)
    async with run_application(hub) as url:
        reading = asyncio.create_task(page.read(url, token, 5))
        await page.opened.wait()
        async with aiohttp.ClientSession() as session:
            for _ in range(2):  # the second one is a duplicate
                async with session.post(f"{url}/orders/981/ship/{user}") as response:
                    assert response.status == 200
        await hub.publish(user, TEXTS)
        await reading
        await hub.wait_disconnected(user, timeout_seconds=60.0)  # noticed at the second heartbeat
        await hub.publish(user, ["while away"])
        await page.read(url, token, 6)
    assert page.events == [
        ("order.shipped", '{"order":981}'),
        *[("note", text) for text in TEXTS[:3]],
        ("note", '{"json":" 你好"}'),
        ("note", "while away"),
    ]
