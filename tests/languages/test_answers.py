"""Test that clients of `/v1` get whole answers, raise the errors of others, and stop answers."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.wordy_llm import ANSWER
from tests.languages.clients import CHAT_CLIENTS, OPENAI_GO_RESPONSES, Client
from tests.languages.programs import Program, run_program
from tests.languages.running_hub import LanguagesHub
from tests.languages.toolchains import command_of

pytestmark = [
    pytest.mark.languages,
    pytest.mark.timeout(1800),  # the first run builds the programs
    pytest.mark.asyncio(loop_scope="session"),
]
every_client = pytest.mark.parametrize(
    "client", [*CHAT_CLIENTS, OPENAI_GO_RESPONSES], ids=lambda client: client.id
)
every_chat_client = pytest.mark.parametrize("client", CHAT_CLIENTS, ids=lambda client: client.id)
CUT_BYTES = 20_000
PROMPT = "count to 900"
STOP_AFTER = 40


async def ask(
    client: Client, hub: LanguagesHub, model: str, *stop_after: str, url: str | None = None
) -> tuple[int, Program, str]:
    """Run a program; return its exit code, the program, and its user."""
    user = hub.user()
    arguments = (client.part, url or hub.url, hub.token(user), model, PROMPT, *stop_after)
    async with run_program(command_of(client.language), *arguments) as program:
        return await program.wait(), program, user


@every_client
async def test_whole_answer(client: Client, hub: LanguagesHub) -> None:
    """An answer of a thousand pieces with difficult characters arrives whole."""
    code, program, _ = await ask(client, hub, "wordy/wordy")
    assert code == 0, repr(program)
    assert program.output == ANSWER


@every_client
async def test_answer_that_fails(client: Client, hub: LanguagesHub) -> None:
    """When the LLM fails after a second, the client raises an error behind the text so far."""
    code, program, user = await ask(client, hub, "broken/simulated-1")
    assert code != 0, repr(program)
    assert program.errors
    snapshot = await hub.newest_generation(user)
    assert snapshot["status"] == "failed"
    assert program.output
    assert snapshot["text"].startswith(program.output)


@every_client
async def test_answer_that_is_refused(client: Client, hub: LanguagesHub) -> None:
    """When the LLM refuses the request, the client raises an error with its words."""
    code, program, _ = await ask(client, hub, "refusing/simulated-1")
    assert code != 0, repr(program)
    assert "the simulated LLM fails" in program.errors, program.errors
    assert not program.output


@every_client
async def test_refused_token(client: Client, hub: LanguagesHub) -> None:
    """A token that the hub refuses is an error that names the status or the reason."""
    arguments = (client.part, hub.url, "not a token", "wordy/wordy", PROMPT)
    async with run_program(command_of(client.language), *arguments) as program:
        assert await program.wait() != 0
    assert "401" in program.errors or "token" in program.errors
    assert not program.output


@every_chat_client
async def test_broken_connection(client: Client, hub: LanguagesHub) -> None:
    """A connection that breaks inside an answer is an error, not a whole answer."""
    async with hub.proxied() as (proxy, url):
        proxy.cut_next_after(CUT_BYTES)
        code, program, _ = await ask(client, hub, "wordy/wordy", url=url)
    assert code != 0, repr(program)
    assert program.output
    assert ANSWER.startswith(program.output)
    assert len(program.output) < len(ANSWER)


async def test_broken_connection_of_responses(hub: LanguagesHub) -> None:
    """A response in the background continues behind the last event after a break."""
    async with hub.proxied() as (proxy, url):
        proxy.cut_next_after(CUT_BYTES)
        code, program, _ = await ask(OPENAI_GO_RESPONSES, hub, "wordy/wordy", url=url)
    assert code == 0, repr(program)
    assert program.output == ANSWER


@every_client
async def test_stopping(client: Client, hub: LanguagesHub) -> None:
    """A client that stops after some characters stops the LLM, and the hub says `stopped`."""
    _, program, user = await ask(client, hub, "main/simulated-1", str(STOP_AFTER))
    assert len(program.output) >= STOP_AFTER
    newest = await hub.newest_generation(user)
    snapshot = await hub.wait_for_status(user, newest["generation"], "stopped")
    assert snapshot["text"].startswith(program.output.removesuffix("\n"))
    async with asyncio.timeout(60):
        while (await hub.cluster.stats("MAIN"))["running"]:
            await asyncio.sleep(0.02)
