"""Two hubs with different `redis.prefix` on one server or Cluster see nothing of each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.backends.redis.permissions import acl_rules
from hub.core.channel import topic_channel, user_channel
from hub.core.event import Event
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.backend import Backend
from hub.ports.events import FROM_START, Publication
from hub.ports.user_presence import UserChange
from hub.settings import Settings
from hub.wiring.backend import open_backend
from tests.backends.test_names import check_events, check_generations, check_small_stores
from tests.conftest import temporary_folder
from tests.topologies import ClusterOfThree, TcpServer, free_ports, valkey_binary

NEWS = topic_channel("news")
pytestmark = pytest.mark.xdist_group("cluster")
# A part of a prefix may look like a part of a key.
PREFIXES = ("one:", "x:jobs:due:/open")


class Hub:
    """The backend of one hub, with all that it received."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.commands: list[bytes] = []
        self.stops: list[str] = []
        backend.subscriptions.listen(self._on_events, lambda: None)
        backend.commands.listen(self.commands.append, lambda: None)

    def _on_events(self, events: Any) -> None:
        for event in events:
            self.events.put_nowait(event)

    async def collect_stops(self) -> None:
        """Collect the stop requests until cancelled."""
        async for generation in self.backend.queue.notices():
            self.stops.append(generation)


@asynccontextmanager
async def opened_hub(url: str, prefix: str) -> AsyncIterator[Hub]:
    """Open the backend as the settings describe it, and run its tasks."""
    settings = Settings.model_validate({"redis": {"url": url, "prefix": prefix}})
    async with (
        open_backend(settings, ["default"]) as backend,
        Supervisor(SystemClock()) as tasks,
    ):
        for name in ("subscriptions", "commands", "queue"):
            tasks.start(name, getattr(backend, name).run)
        hub = Hub(backend)
        tasks.start("stops", hub.collect_stops)
        yield hub


async def use_every_store(hub: Hub) -> None:
    """Have a hub store and read something of every kind."""
    for user in ("alice", "bob/b%25}"):
        await check_events(hub.backend, user_channel(user), hub.events)
        await check_generations(hub.backend, user)
        await check_small_stores(hub.backend, user)
        await hub.backend.budgets.charge(user, 10, 1000)
    await check_events(hub.backend, NEWS, hub.events)
    await hub.backend.events.publish(
        [Publication(channel=user_channel("carol"), name="n", data=b"1", ephemeral=True)]
    )
    await hub.backend.events.read({user_channel("new"): None}, max_events=9, max_bytes=99)
    # The time of the last sweep expires after ten intervals: long enough to be seen.
    await hub.backend.generations.take_open(60.0)
    await hub.backend.queue.list_jobs(10)
    await hub.backend.topic_presence.update(NEWS, "node", ["alice"], [], seconds=30.0)
    presence = hub.backend.user_presence
    await presence.update("node", [UserChange("alice", True)], seconds=30.0)
    assert not (await presence.renew("node", [], seconds=30.0)).is_lost
    assert await presence.expired_users(0, "node", 9) == []
    await hub.backend.commands.put_node_state("node", b"{}")
    assert [state for state, _ in await hub.backend.commands.node_states()] == [b"{}"]


@pytest.fixture(scope="module", params=["valkey", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[TcpServer]]]:
    """The URL and the servers that store something."""
    if request.param == "cluster":
        cluster: ClusterOfThree = request.getfixturevalue("shared_cluster")
        yield cluster.url, cluster.masters
        return
    with ExitStack() as started:
        folder: Path = temporary_folder("prefix", started)
        server = TcpServer(valkey_binary(), folder, free_ports(1)[0])
        started.callback(server.kill)
        yield f"redis://127.0.0.1:{server.port}", [server]


def keys_of(servers: list[TcpServer]) -> list[str]:
    return [key.decode() for server in servers for key in server.ask("KEYS", "*")]


async def test_hubs_see_nothing_of_each_other(servers: tuple[str, list[TcpServer]]) -> None:
    """Events, jobs, commands and states of one hub are unknown to the other."""
    url, stores = servers
    for server in stores:
        server.ask("FLUSHALL")
    async with opened_hub(url, PREFIXES[0]) as one, opened_hub(url, PREFIXES[1]) as other:
        for hub in (one, other):
            await use_every_store(hub)  # each takes only its own job, and receives its own event
        user = user_channel("dora")
        for hub in (one, other):
            await hub.backend.subscriptions.subscribe([user, NEWS])
        for hub, data in ((one, b"1"), (other, b"2")):
            await hub.backend.events.publish(
                [
                    Publication(channel=channel, name="n", data=data, idempotency_key="same")
                    for channel in (user, NEWS)
                ]
            )
        for hub, data in ((one, b"1"), (other, b"2")):
            async with asyncio.timeout(60):
                received = [await hub.events.get(), await hub.events.get()]
            assert {event.data for event in received} == {data}
            pages = await hub.backend.events.read({user: FROM_START}, max_events=9, max_bytes=99)
            assert [event.data for event in pages[user].events] == [data]
            await hub.backend.commands.block(f"user n{data.decode()}", 60.0)
            blocked = await hub.backend.commands.blocked()
            subjects = {subject for subject in blocked if subject.startswith("user n")}
            assert subjects == {f"user n{data.decode()}"}


async def test_messages_to_all_nodes_stay_in_the_hub(servers: tuple[str, list[TcpServer]]) -> None:
    """Commands and stop requests reach the nodes of the same hub only."""
    url, _ = servers
    async with opened_hub(url, PREFIXES[0]) as one, opened_hub(url, PREFIXES[1]) as other:
        hubs = {b"one": one, b"other": other}
        for text in ("first", "last"):  # the subscriptions of both exist before the last messages
            for name, hub in hubs.items():
                await send_until_received(hub, name + text.encode())
        for name, hub in hubs.items():
            assert set(hub.commands) == {name + b"first", name + b"last"}
            assert set(hub.stops) == {f"{name.decode()}{text}" for text in ("first", "last")}


async def send_until_received(hub: Hub, message: bytes) -> None:
    async with asyncio.timeout(60):
        while message not in hub.commands or message.decode() not in hub.stops:
            await hub.backend.commands.broadcast(message)
            await hub.backend.queue.broadcast_notice(message.decode())
            await asyncio.sleep(0.01)


async def test_every_name_begins_with_the_prefix(servers: tuple[str, list[TcpServer]]) -> None:
    """A login with exactly the documented permissions is enough, and every key has the prefix."""
    url, stores = servers
    for server in stores:
        server.ask("FLUSHALL")
        server.ask("ACL", "SETUSER", "tenant", "reset", "on", ">pw", *acl_rules("tenant:").split())
    async with opened_hub(url.replace("://", "://tenant:pw@"), "tenant:") as hub:
        await use_every_store(hub)
        keys = keys_of(stores)
        # Every kind of key that lives for longer than a call: a store that is not used is missed.
        for kind in (
            "head", "log", "blank", "publish_key", "generation", "generation_key", "chat", "open",
            "ticket", "usage", "stored_bytes", "presence", "connected", "denylist", "nodes",
            "last_sweep",
        ):  # fmt: skip
            assert any(f"}}:{kind}" in key for key in keys), kind
        assert [key for key in keys if not key.startswith("tenant:{hub:p")] == []


@given(st.text(max_size=70))
def test_setting_takes_only_names_without_braces(prefix: str) -> None:
    """A brace would change the hash tag, and white space or a wildcard an ACL pattern."""
    try:
        accepted = Settings.model_validate({"redis": {"prefix": prefix}}).redis.prefix
    except ValidationError:
        return
    assert accepted == prefix
    assert not set(prefix) & set("{}*?[]\\ \n\t\x00")
    assert len(prefix) <= 64
