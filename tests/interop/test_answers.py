"""Test clients that use the protocols of OpenAI, the AI SDK or AG-UI."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.clients import ANSWER_CLIENTS, AnswerClient
from tests.interop.conftest import Programs
from tests.interop.running_hub import RunningHub
from tests.interop.wordy_llm import ANSWER

pytestmark = pytest.mark.asyncio(loop_scope="session")
every_client = pytest.mark.parametrize("client", ANSWER_CLIENTS, ids=lambda client: client.name)
FIRST = 1  # the part at which a program stops: on a slow machine, half of the answer can be one
CUT_BYTES = 2_000


@every_client
async def test_answers(client: AnswerClient, hub: RunningHub, programs: Programs) -> None:
    """The client reads an answer over a broken connection, reads one undisturbed, and stops one.

    It receives each chunk once, or reports that the answer is incomplete. The stop reaches the LLM.
    """
    async with hub.proxied() as (proxy, url):
        proxy.cut_next_after(CUT_BYTES)
        async with programs.start(client, "read+read+stop", hub.user(), FIRST, url) as program:
            await program.wait_finished()
    broken, complete, stopped = (event.data for event in program.named("text"))
    assert complete == ANSWER
    assert ANSWER.startswith(stopped)
    assert len(stopped) < len(ANSWER)
    if client.after_break == "none":
        assert ANSWER.startswith(broken)
        assert len(broken) < len(ANSWER)
    else:
        assert broken == ANSWER
    assert len(program.ends) == (client.after_break != "by itself")
    async with asyncio.timeout(60):
        while hub.wordy.running:
            await asyncio.sleep(0.02)
