"""One hub and one browser for all clients, and what starts a client's program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest_asyncio

from tests.interop.clients import OKHTTP, AnswerClient, Client
from tests.interop.hub_site import Site, site
from tests.interop.programs import (
    Chromium,
    Program,
    chromium,
    compile_java,
    java,
    node,
    process,
    python,
)

_OKHTTP_GIVES_UP_SECONDS = 10.0
_COMMANDS = {"python": python, "node": node, "java": java}


class Programs:
    """Starts clients' programs; Chromium and javac run when the first one needs them."""

    def __init__(self, hub: Site, stack: AsyncExitStack) -> None:
        self._hub = hub
        self._stack = stack
        self._browser: Chromium | None = None
        self._compiling = asyncio.Lock()

    @asynccontextmanager
    async def start(
        self,
        client: Client | AnswerClient,
        scenarios: str,
        user: str,
        count: int,
        url: str | None = None,
    ) -> AsyncIterator[Program]:
        """The client's program in scenarios (`python/story.py`), as a user, at the hub or at
        another URL. It is ended at the end.
        """
        url, token = url or self._hub.url, self._hub.token(user)
        if client.runtime == "chromium":
            by_cookie = client.auth.startswith("cookie")
            cookies = [{"name": "hub_token", "value": token, "url": url}] if by_cookie else []
            asked = {"scenarios": scenarios, "url": url, "count": count}
            asked["token"] = "-" if by_cookie else token
            browser = await self.browser()
            async with browser.page(client.program, cookies, **asked) as (program, _):
                yield program
            return
        if client.runtime == "java":
            async with self._compiling:
                await asyncio.to_thread(compile_java)
        command = _COMMANDS[client.runtime](client.program, scenarios, url, token, str(count))
        async with process(command) as program:
            yield program

    async def browser(self) -> Chromium:
        """The one of the run."""
        if self._browser is None:
            self._browser = await self._stack.enter_async_context(chromium())
        return self._browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub() -> AsyncIterator[Site]:
    """The hub that all clients meet."""
    async with site() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def programs(hub: Site) -> AsyncIterator[Programs]:
    """What starts the clients."""
    async with AsyncExitStack() as stack:
        yield Programs(hub, stack)


class Silence(NamedTuple):
    """OkHttp where nothing happens for longer than its time-out; begun with the first test."""

    at_the_hub: asyncio.Task[Program]
    at_a_mute_server: asyncio.Task[Program]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def silence(hub: Site, programs: Programs) -> AsyncIterator[Silence]:
    """Two programs that run beside the other tests."""
    made = Silence(
        asyncio.create_task(_nothing_happens(hub, programs)),
        asyncio.create_task(_nothing_comes(programs)),
    )
    yield made
    for task in made:
        task.cancel()
    await asyncio.gather(*made, return_exceptions=True)


async def _nothing_happens(hub: Site, programs: Programs) -> Program:
    user = hub.user()
    async with programs.start(OKHTTP, "listen", user, 1) as it:
        await it.until(lambda it: it.of("hub.open"))
        await asyncio.sleep(_OKHTTP_GIVES_UP_SECONDS + 1)
        await hub.publish(user, ["still here?"])
        await it.finished()
    return it


async def _nothing_comes(programs: Programs) -> Program:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        async with programs.start(OKHTTP, "listen", "nobody", 1, url) as it:
            await it.finished()
    return it
