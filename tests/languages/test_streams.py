"""Test that clients of event streams receive each event once, whatever ends their connections."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import pytest_asyncio

from hub.http.server import ListenAddress, listen
from tests.interop.cutting_proxy import CuttingProxy
from tests.languages.clients import STREAM_CLIENTS, Client
from tests.languages.log_server import EVENTS, LogServer, Step
from tests.languages.programs import Program, run_program
from tests.languages.running_hub import LanguagesHub
from tests.languages.toolchains import by_itself_command, command_of, has_toolchain

pytestmark = [
    pytest.mark.languages,
    pytest.mark.timeout(1800),  # the first run builds the programs
    pytest.mark.asyncio(loop_scope="session"),
]
every_client = pytest.mark.parametrize("client", STREAM_CLIENTS, ids=lambda client: client.id)
CUTS = 30
MIN_FIRST_BYTES, MAX_BYTES = 800, 1000  # the first connection lives until hub.open
NOTES = 4 * CUTS  # a connection has at most four, so the last one has some to receive
MAX_SILENCE_SECONDS = 20  # of the programs
LARGE = "大" * 87_370  # as large as `publish.max_data_bytes` allows, and larger with its fields
STEPS: list[Step] = [
    *("end", "bye", "end", "status", "end", "end", "unreachable", "end", "end", "end"),
]


@asynccontextmanager
async def serve(server: LogServer) -> AsyncIterator[str]:
    """Run a server during the block, and yield its URL."""
    address = ListenAddress("127.0.0.1", 0, "x")
    async with listen(
        server.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1
    ) as port:
        yield f"http://127.0.0.1:{port}"


async def run_stream(client: Client, url: str, token: str) -> Program:
    """Run a program until it ends; its exit code must be 0."""
    async with run_program(command_of(client.language), client.part, url, token) as program:
        code = await program.wait()
    assert code == 0, repr(program)
    return program


@every_client
async def test_cuts_inside_events(client: Client, hub: LanguagesHub) -> None:
    """Over 30 cuts in headers, ids and events, each event arrives once; then the hub ends it."""
    user, numbers, cuts = hub.user(), random.Random(client.id), iter(range(CUTS))
    all_made = asyncio.Event()

    def next_cut() -> int | None:
        number = next(cuts, None)
        if number is None:
            all_made.set()
            return None
        return numbers.randrange(MIN_FIRST_BYTES if number == 0 else 1, MAX_BYTES)

    command = command_of(client.language)
    async with (
        CuttingProxy(hub.main_node, next_cut) as proxy,
        run_program(command, client.part, proxy.url, hub.token(user)) as program,
    ):
        await program.until(lambda program: program.named("hub.open"))
        await hub.publish(user, range(NOTES))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                program.until(lambda program: len(program.named("note")) >= NOTES + 1)
            )
            await all_made.wait()
            await hub.publish(user, [LARGE])
        await hub.disconnect(user)
        assert await program.wait() == 0
    *notes, large = program.named("note")
    assert [json.loads(note) for note in notes] == [*range(NOTES)]
    assert large == LARGE
    assert not program.named("hub.reset")
    assert proxy.spots.total() == CUTS


@every_client
async def test_clean_ends(client: Client) -> None:
    """No event is lost over clean ends inside events, hub.bye alone, and a 503."""
    server = LogServer(STEPS, client.id)
    async with serve(server) as url:
        program = await run_stream(client, url, "token")
    assert [json.loads(note) for note in program.named("note")] == [*range(EVENTS)]
    assert server.without_cursor == 0
    assert server.connections == len(STEPS) + 1


@pytest.mark.parametrize(("step", "forgotten"), [("bye", 0), ("unreachable", 1)])
async def test_default_of_eventsource_client(step: Step, forgotten: int) -> None:
    """Without the program of the page, eventsource-client keeps the cursor that hub.bye repeats,
    and forgets it where a connection has no id at all.
    """
    server = LogServer(["end", step], "eventsource-client")
    async with serve(server) as url, run_program(by_itself_command(), url) as program:
        await program.until(lambda program: len(program.named("hub.open")) == 2)
    assert server.without_cursor == forgotten


@every_client
async def test_refused_token(client: Client, hub: LanguagesHub) -> None:
    """A client whose token is refused ends with an error; it does not ask for ever."""
    command = command_of(client.language)
    async with run_program(command, client.part, hub.url, "not a token") as program:
        assert await program.wait() != 0
    assert "401" in program.errors
    assert not program.events


@every_client
async def test_hub_that_starts_later(client: Client, hub: LanguagesHub) -> None:
    """A client that starts before the hub connects as soon as the hub is there."""
    user, command = hub.user(), command_of(client.language)
    async with (
        CuttingProxy(hub.main_node, iter((0, None)).__next__) as proxy,
        run_program(command, client.part, proxy.url, hub.token(user)) as program,
    ):
        await program.until(lambda program: program.named("hub.open"))


@every_client
async def test_silence(client: Client, silent: SilentRuns) -> None:
    """Heartbeats keep the client connected; without them it reconnects with its cursor."""
    command_of(client.language)  # skips the test without the toolchain
    with_heartbeats, without = silent.runs[client.id]
    program = await with_heartbeats
    assert len(program.named("hub.open")) == len(program.named("note")) == 1
    program, server = await without
    assert [json.loads(note) for note in program.named("note")] == [*range(EVENTS)]
    assert (server.connections, server.without_cursor) == (2, 0)


class SilentRuns(NamedTuple):
    """For each client: a run with a silent hub, and one with a server without heartbeats."""

    runs: dict[str, tuple[asyncio.Task[Program], asyncio.Task[tuple[Program, LogServer]]]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def silent(hub: LanguagesHub) -> AsyncIterator[SilentRuns]:
    """Run all clients at the same time, because each run takes 20 s."""
    clients = [client for client in STREAM_CLIENTS if has_toolchain(client.language)]
    for client in clients:
        command_of(client.language)  # before the first task, because a build blocks the loop
    runs = {
        client.id: (
            asyncio.create_task(listen_to_silent_hub(client, hub)),
            asyncio.create_task(listen_without_heartbeats(client)),
        )
        for client in clients
    }
    yield SilentRuns(runs)
    tasks = [task for pair in runs.values() for task in pair]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def listen_to_silent_hub(client: Client, hub: LanguagesHub) -> Program:
    """Publish one event after a silence in which each timeout without heartbeats would end."""
    user, command = hub.user(), command_of(client.language)
    async with run_program(command, client.part, hub.url, hub.token(user)) as program:
        await program.until(lambda program: program.named("hub.open"))
        await asyncio.sleep(MAX_SILENCE_SECONDS + 1)
        await hub.publish(user, ["still here?"])
        await program.until(lambda program: program.named("note"))
    return program


async def listen_without_heartbeats(client: Client) -> tuple[Program, LogServer]:
    """Connect to a server that falls silent."""
    server = LogServer(["silence"], client.id)
    async with serve(server) as url:
        return await run_stream(client, url, "token"), server
