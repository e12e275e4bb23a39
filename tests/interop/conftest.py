"""Fixtures: one hub for all clients, and an object that starts their programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest_asyncio

from tests.interop.clients import OKHTTP, AnswerClient, Client
from tests.interop.programs import (
    Chromium,
    Program,
    chromium,
    compile_java,
    java_command,
    node_command,
    python_command,
    run_process,
)
from tests.interop.running_hub import RunningHub, run_hub

_OKHTTP_TIMEOUT_SECONDS = 10.0
_COMMANDS = {"python": python_command, "node": node_command, "java": java_command}


class Programs:
    """Start programs of clients; start Chromium and run javac when a program first needs them."""

    def __init__(self, hub: RunningHub, stack: AsyncExitStack) -> None:
        self._hub = hub
        self._stack = stack
        self._browser: Chromium | None = None
        self._compile_lock = asyncio.Lock()

    @asynccontextmanager
    async def start(
        self,
        client: Client | AnswerClient,
        scenarios: str,
        user: str,
        count: int,
        url: str | None = None,
    ) -> AsyncIterator[Program]:
        """Run the program of a client during the block.

        scenarios: names joined by `+`, see `python/scenario.py`. count: the number of events after
        which a scenario acts. url: the hub by default.
        """
        url, token = url or self._hub.url, self._hub.token(user)
        if client.runtime == "chromium":
            by_cookie = client.auth.startswith("cookie")
            cookies = [{"name": "hub_token", "value": token, "url": url}] if by_cookie else []
            options = {"scenarios": scenarios, "url": url, "count": count}
            options["token"] = "-" if by_cookie else token
            browser = await self.browser()
            async with browser.page(client.program, cookies, **options) as (program, _):
                yield program
            return
        if client.runtime == "java":
            async with self._compile_lock:
                await asyncio.to_thread(compile_java)
        command = _COMMANDS[client.runtime](client.program, scenarios, url, token, str(count))
        async with run_process(command) as program:
            yield program

    async def browser(self) -> Chromium:
        """Return the browser; start it at the first call."""
        if self._browser is None:
            self._browser = await self._stack.enter_async_context(chromium())
        return self._browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub() -> AsyncIterator[RunningHub]:
    """Run the hub for all clients."""
    async with run_hub() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def programs(hub: RunningHub) -> AsyncIterator[Programs]:
    """Return the object that starts programs."""
    async with AsyncExitStack() as stack:
        yield Programs(hub, stack)


class Silence(NamedTuple):
    """OkHttp in two silences that are longer than its timeout; started with the first test."""

    at_hub: asyncio.Task[Program]
    at_silent_server: asyncio.Task[Program]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def silence(hub: RunningHub, programs: Programs) -> AsyncIterator[Silence]:
    """Run two programs in parallel with the other tests."""
    tasks = Silence(
        asyncio.create_task(_listen_without_events(hub, programs)),
        asyncio.create_task(_listen_without_heartbeats(programs)),
    )
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listen_without_events(hub: RunningHub, programs: Programs) -> Program:
    user = hub.user()
    async with programs.start(OKHTTP, "listen", user, 1) as program:
        await program.until(lambda program: program.named("hub.open"))
        await asyncio.sleep(_OKHTTP_TIMEOUT_SECONDS + 1)
        await hub.publish(user, ["still here?"])
        await program.wait_finished()
    return program


async def _listen_without_heartbeats(programs: Programs) -> Program:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        async with programs.start(OKHTTP, "listen", "user", 1, url) as program:
            await program.wait_finished()
    return program
