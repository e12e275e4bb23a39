"""Workers die while LLMs answer that can continue: real processes, a real Valkey, kill -9."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.e2e.cluster import create_cluster
from tests.soak.takeovers import Takeovers


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("upstream", ["background", "prefix"])
async def test_upstream_generates_each_answer_once(upstream: str) -> None:
    """The LLM counts one generation for each answer, and readers get each text exactly once.

    `scripts/soak takeovers` does the same with more kills. A stop ends an answer in the background
    also at the LLM.
    """
    async with create_cluster() as cluster:
        takeovers = Takeovers(cluster, upstream=upstream, users=3, seed=1)
        await takeovers.run(kills=5, max_pause_seconds=0.4)
        assert takeovers.problems == []
        assert takeovers.counts["kills"] >= 5
        assert takeovers.counts["continued"] >= 1
        if upstream == "background":
            _, started = await cluster.start_generation("stopper", "count to 999", "llm")
            reading = asyncio.create_task(cluster.read_generation("stopper", started["cursor"]))
            async with asyncio.timeout(60):
                while not (await cluster.stats("llm"))["running"]:
                    await asyncio.sleep(0.02)
                await _stop(cluster.session, f"{cluster.url}/generations/{started['generation']}")
                assert (await reading)[-1][0] == "generation.stopped"
                while not (await cluster.stats("llm"))["cancelled"]:
                    await asyncio.sleep(0.02)


async def _stop(session: aiohttp.ClientSession, url: str) -> None:
    async with session.delete(f"{url}?user=stopper") as response:
        assert response.status in (200, 202)
