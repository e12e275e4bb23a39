"""Clients of answers, which speak OpenAI's, the AI SDK's or AG-UI's protocol to the hub."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.clients import ANSWER_CLIENTS, AnswerClient
from tests.interop.conftest import Programs
from tests.interop.hub_site import Site
from tests.interop.wordy_llm import ANSWER

pytestmark = pytest.mark.asyncio(loop_scope="session")
every_client = pytest.mark.parametrize("client", ANSWER_CLIENTS, ids=lambda client: client.name)
FEW = 20
CUT_BYTES = 10_000


@every_client
async def test_answers(client: AnswerClient, hub: Site, programs: Programs) -> None:
    """One over a connection that breaks, one that does not, and one that is stopped: each of a
    thousand pieces once, or told that it is not whole; and the stop reaches the LLM.
    """
    async with hub.proxied() as (proxy, url):
        proxy.cut_next_after(CUT_BYTES)
        async with programs.start(client, "read+read+stop", hub.user(), FEW, url) as it:
            await it.finished()
    broken, whole, stopped = (event.data for event in it.of("text"))
    assert whole == ANSWER
    assert ANSWER.startswith(stopped)
    assert len(stopped) < len(ANSWER)
    if client.after_break == "none":
        assert ANSWER.startswith(broken)
        assert len(broken) < len(ANSWER)
    else:
        assert broken == ANSWER
    assert len(it.ends) == (client.after_break != "by itself")
    async with asyncio.timeout(5):
        while hub.wordy.running:
            await asyncio.sleep(0.02)
