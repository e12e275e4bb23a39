"""POST /dev/faults/{fault}: who may make something fail, and where the route exists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hub.cli.supervisor.child_process import ChildProcess
from hub.cli.supervisor.dev_faults import SOCKET_NAME, DevFaults
from hub.errors import CallerError
from hub.http.routes.dev_faults import DevFaultRoutes
from tests.http.kit import running_hub

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class Connection:
    """A connection that notes that it was cut."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.writer = self

    def abort(self) -> None:
        self.calls.append("abort")

    def on_disconnect(self) -> None:
        self.calls.append("disconnect")


class Node:
    """Authenticates everybody as alice, who has one connection."""

    user = "alice"

    def __init__(self) -> None:
        self.connection = Connection()

    async def identify(self, request: web.Request) -> Node:
        return self

    def by_user(self, user: str) -> list[Connection]:
        return [self.connection] if user == self.user else []


class Running(NamedTuple):
    """A node and its supervisor."""

    client: TestClient[Any, Any]
    node: Any
    worker: ChildProcess

    async def make(self, fault: str, **headers: str) -> tuple[int, str]:
        """Return the status, and the sentence that says what happened."""
        async with self.client.post(f"/dev/faults/{fault}", headers=headers) as response:
            return response.status, await response.text()


@web.middleware
async def answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer the errors of callers with their status."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except CallerError as error:
        return web.Response(status=error.status, text=str(error))


@pytest.fixture
async def running(short_path: Path) -> AsyncIterator[Running]:
    """A node with a supervisor whose only child is a sleeping process."""
    node: Any = Node()
    worker = ChildProcess("worker", ["sleep", "60"], {"PATH": "/usr/bin:/bin"})
    await worker.start()
    try:
        async with DevFaults([worker]).serve(short_path):
            app = web.Application(middlewares=[answer_errors])
            app.add_routes(DevFaultRoutes(node, node, str(short_path / SOCKET_NAME)).routes())
            async with TestClient(TestServer(app)) as client:
                yield Running(client, node, worker)
    finally:
        await worker.stop(1.0)


async def test_kill_worker(running: Running) -> None:
    """The supervisor kills the process, and says so."""
    status, text = await running.make("kill-worker", **SAME_ORIGIN)
    assert running.worker.process is not None
    assert await running.worker.process.wait() == -9
    assert (status, f"process {running.worker.process.pid}) was killed" in text) == (200, True)


async def test_cut_connection(running: Running) -> None:
    """The connections of the user end without a word."""
    status, text = await running.make("cut-connection", **SAME_ORIGIN)
    assert (status, "1 connection was cut" in text) == (200, True)
    assert running.node.connection.calls == ["abort", "disconnect"]


@pytest.mark.parametrize("site", [None, "same-site", "cross-site", "none"])
async def test_only_the_own_page_may(running: Running, site: str | None) -> None:
    """A page of another origin, and a link, get a 403, and nothing happens."""
    headers = {} if site is None else {"Sec-Fetch-Site": site}
    assert (await running.make("kill-worker", **headers))[0] == 403
    assert running.worker.process is not None
    assert running.worker.process.returncode is None


async def test_unknown_fault(running: Running) -> None:
    """There are only the faults of the page."""
    assert (await running.make("delete-all", **SAME_ORIGIN))[0] == 404


async def test_only_hub_dev_has_the_route() -> None:
    """A node that no `hub dev` started has neither the route nor the buttons."""
    async with running_hub() as hub:
        status, _ = await hub.call("POST", "/dev/faults/kill-worker", headers=SAME_ORIGIN)
        assert status == 404
        async with hub.ask("GET", "/", headers={"Accept-Encoding": "identity"}) as response:
            assert 'name="hub-faults" content="false"' in await response.text()
