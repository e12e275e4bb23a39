"""Test the programs that call the hub over gRPC, with stubs that the toolchains generate."""

from __future__ import annotations

import json

import pytest

from tests.faults import FaultProxy
from tests.languages.clients import GRPC_CLIENTS, Client
from tests.languages.programs import Program, run_program
from tests.languages.running_hub import KEY, LanguagesHub
from tests.languages.toolchains import command_of

pytestmark = [
    pytest.mark.languages,
    pytest.mark.timeout(1800),  # the first run builds the programs
    pytest.mark.asyncio(loop_scope="session"),
]
every_client = pytest.mark.parametrize("client", GRPC_CLIENTS, ids=lambda client: client.id)
BREAKS = 4
BATCH = 25
NOTES = 2 * (BREAKS + 1) * BATCH
STOP_AFTER = 40


async def until_count(program: Program, name: str, count: int) -> None:
    """Wait until the program has printed so many events with a name."""
    await program.until(lambda program: len(program.named(name)) == count)


async def publish_batch(hub: LanguagesHub, user: str, number: int) -> None:
    """Publish the events of a batch, which have consecutive numbers."""
    await hub.publish(user, range(number * BATCH, (number + 1) * BATCH))


@every_client
async def test_stream_over_breaks(client: Client, hub: LanguagesHub) -> None:
    """A stream that breaks four times continues by its cursor; a disconnect ends it."""
    user, command = hub.user(), command_of(client.language)
    async with FaultProxy(("127.0.0.1", hub.grpc_port)) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        async with run_program(command, "grpc-follow", address, hub.token(user)) as program:
            for number in range(BREAKS + 1):
                await until_count(program, "hub.open", number + 1)
                await publish_batch(hub, user, 2 * number)
                await until_count(program, "note", (2 * number + 1) * BATCH)
                if number < BREAKS:
                    proxy.reset_all()
                await publish_batch(hub, user, 2 * number + 1)
            await until_count(program, "note", NOTES)
            await hub.disconnect(user)
            assert await program.wait() != 0
    assert [json.loads(note) for note in program.named("note")] == [*range(NOTES)]
    assert json.loads(program.named("hub.bye")[-1])["reason"] == "disconnected"
    assert "PERMISSIONDENIED" in program.errors.upper().replace("_", "")


@every_client
async def test_publish(client: Client, hub: LanguagesHub) -> None:
    """A publish that is repeated with the same id publishes one event and returns its cursor."""
    user, command = hub.user(), command_of(client.language)
    cursors = []
    for _ in range(2):
        arguments = ("grpc-publish", hub.internal_grpc_address, KEY, user, f"order-{user}")
        async with run_program(command, *arguments) as program:
            assert await program.wait() == 0, repr(program)
        cursors.append(program.output.strip())
    assert cursors[0]
    assert cursors[0] == cursors[1]
    assert await hub.stored_events(user) == [("order.shipped", {"order": 981})]


@every_client
async def test_answer(client: Client, hub: LanguagesHub) -> None:
    """An answer arrives whole."""
    user, command = hub.user(), command_of(client.language)
    arguments = ("grpc-ask", hub.grpc_address, hub.token(user), "count to 20")
    async with run_program(command, *arguments) as program:
        assert await program.wait() == 0, repr(program)
    snapshot = await hub.newest_generation(user)
    assert (snapshot["status"], snapshot["text"]) == ("done", program.output)


@every_client
async def test_stopping(client: Client, hub: LanguagesHub) -> None:
    """A program that stops its answer stops it at the LLM."""
    user, command = hub.user(), command_of(client.language)
    arguments = ("grpc-ask", hub.grpc_address, hub.token(user), "count to 900", str(STOP_AFTER))
    async with run_program(command, *arguments) as program:
        assert await program.wait() != 0
    assert len(program.output) >= STOP_AFTER
    newest = await hub.newest_generation(user)
    await hub.wait_for_status(user, newest["generation"], "stopped")


@every_client
async def test_refused_token(client: Client, hub: LanguagesHub) -> None:
    """A refused token ends the stream with an error; the program does not connect for ever."""
    command = command_of(client.language)
    async with run_program(command, "grpc-follow", hub.grpc_address, "no token") as program:
        assert await program.wait() != 0
    assert "UNAUTHENTICATED" in program.errors.upper()
    assert not program.events
