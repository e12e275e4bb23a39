"""The AI SDK with OpenAI's provider, and the SDKs of OpenAI and Anthropic: answers that fail, and
a second turn.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hub.http.server import ListenAddress, listen
from tests.e2e.cluster import Cluster, create_cluster
from tests.e2e.tool_llm import ToolLlm
from tests.interop.programs import node_command, run_process

LLM = ToolLlm()
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Run a node, a worker, and three LLMs: one breaks off, one refuses every request with 400,
    and one calls tools.
    """
    async with create_cluster() as cluster:
        await cluster.add_upstream("cutting", fault="truncate:3", retries=0)
        await cluster.add_upstream("rejecting", fault="status:400", retries=0)
        address = ListenAddress("127.0.0.1", 0, "x")
        async with listen(
            LLM.app(), address, cancel_handlers=True, shutdown_timeout_seconds=0.1
        ) as port:
            cluster.set("UPSTREAMS__tool__BASE_URL", f"http://127.0.0.1:{port}/v1")
            cluster.set("DEFAULT_UPSTREAM", "cutting")
            await cluster.start()
            await cluster.start_worker()
            yield cluster


async def test_javascript_clients_raise_failures(cluster: Cluster) -> None:
    """Half an answer is an error in each client, and a refusal of the LLM has its status."""
    async with run_process(node_command("failures", "read", cluster.url, "token", "9")) as program:
        await program.wait_finished()
    failures = [json.loads(event.data) for event in program.named("failure")]
    assert len({failure["client"] for failure in failures}) == 5
    assert len(failures) == 10
    for failure in failures:
        assert failure["message"] != "complete", failure
        if failure["model"] == "cutting/m":
            assert "before the answer was finished" in failure["message"], failure
        else:
            assert (failure["status"], failure["text"]) == (400, ""), failure


async def test_second_turn_of_the_ai_sdk(cluster: Cluster) -> None:
    """Its default model sends references to earlier items; the LLM gets the whole conversation."""
    async with run_process(node_command("two_turns", "read", cluster.url, "token", "9")) as program:
        await program.wait_finished()
    assert program.ends == []
    assert [event.data for event in program.named("turn")] == ["It is rain.", "It is rain."]
    assert int(program.named("references")[0].data) >= 3
    assert program.named("deleted")[0].data == "404"
    turn = ["user", "assistant", "tool"]
    assert [m["role"] for m in LLM.requests[-1]["messages"]] == [*turn, "assistant", *turn]
    (call,) = LLM.requests[-1]["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
