"""Questions of users that a process answers with the client: claims, workers and returned jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub_client import HubClient, Job, RetryPolicy
from hub_client.http import HttpClient
from tests.http.kit import Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with an upstream of the kind queue."""
    async with running_hub() as hub:
        yield hub


@pytest.fixture
async def backend(hub: Hub) -> AsyncIterator[HubClient]:
    """A client of the node."""
    async with HubClient(
        f"http://127.0.0.1:{hub.port}",
        internal_url=f"http://127.0.0.1:{hub.internal_port}",
        retry=RetryPolicy(min_delay_seconds=0.001),
    ) as client:
        yield client


async def ask(hub: Hub, prompt: str, **body: Any) -> str:
    request = {"prompt": prompt, "upstream": "support", "model": "m", **body}
    status, started = await hub.call("POST", "/generations?user=alice", json=request)
    assert status == 202, started
    generation: str = started["generation"]
    return generation


async def ended(hub: Hub, generation: str) -> Any:
    """Return the snapshot of an answer when it has ended."""
    async with asyncio.timeout(60):
        while True:
            _, record = await hub.call("GET", f"/generations/{generation}?user=alice")
            if record["status"] in ("done", "stopped", "failed"):
                return record
            await asyncio.sleep(0.01)


async def test_jobs(hub: Hub, backend: HubClient) -> None:
    """Each job has the question, and its answer ends with its block."""
    generations = [
        await ask(hub, "why?", chat="c", metadata={"n": 1}, params={"temperature": 0}),
        await ask(hub, "how?"),
    ]
    seen = []
    async for job in backend.jobs("support"):
        async with job:
            seen.append((job.generation, job.user, job.prompt, job.attempt))
            await job.write(f"You asked: {job.prompt}")
        if len(seen) == 1:
            assert (job.request.chat, job.request.metadata) == ("c", {"n": 1})
            assert job.request.params == {"temperature": 0}
            assert job.messages[0]["content"] == "why?"
        else:
            break
    assert seen == [(generations[0], "alice", "why?", 1), (generations[1], "alice", "how?", 1)]
    assert (await ended(hub, generations[0]))["text"] == "You asked: why?"
    assert (await ended(hub, generations[1]))["status"] == "done"


async def test_job_that_is_not_ended_returns(hub: Hub, backend: HubClient) -> None:
    """The next claim gets it, also after the process that had it was cancelled."""
    generation = await ask(hub, "why?")
    async for job in backend.jobs("support"):
        assert job.generation == generation
        break
    await asyncio.sleep(0)
    holding = asyncio.Event()

    async def hold() -> None:
        async for job in backend.jobs("support"):
            async with job:
                await job.write("half")
                await job.flush()
                holding.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    async with asyncio.timeout(60):
        await holding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async for job in backend.jobs("support"):
        async with job:
            await job.write("whole")
        break
    record = await ended(hub, generation)
    assert (record["status"], record["text"]) == ("done", "whole")


async def test_claim_that_is_cancelled_while_its_response_is_lost(
    hub: Hub, backend: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that it has got returns to the queue at once, and no attempt counts as lost."""
    generation = await ask(hub, "why?")
    has_claimed = asyncio.Event()
    send = HttpClient.send

    async def lose(self: HttpClient, request: Any) -> Any:
        response = await send(self, request)
        if request.path.endswith("/claim") and not has_claimed.is_set():
            has_claimed.set()
            await asyncio.Event().wait()
        return response

    monkeypatch.setattr(HttpClient, "send", lose)

    async def claim() -> None:
        async for _ in backend.jobs("support"):
            pass

    claiming = asyncio.create_task(claim())
    async with asyncio.timeout(60):
        await has_claimed.wait()
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(60):
        async for job in backend.jobs("support"):
            assert (job.generation, job.attempt) == (generation, 2)
            break


async def test_worker(hub: Hub, backend: HubClient) -> None:
    """Functions that write, return a part, yield parts or fail; a stop ends one answer only."""

    @backend.worker("support", max_running=3)
    async def support(job: Job) -> Any:
        if job.prompt == "fails":
            raise ZeroDivisionError
        if job.prompt == "waits":
            await job.write("a")
            await job.flush()
            await hub.call("DELETE", f"/generations/{job.generation}?user=alice")
            for _ in range(10_000):
                await job.write("b")
                await asyncio.sleep(0.001)
        return f"answer to {job.prompt}"

    running = asyncio.create_task(support.run())
    prompts = ["one", "fails", "waits", "two", "three"]
    generations = [await ask(hub, prompt) for prompt in prompts]
    records = [await ended(hub, each) for each in generations]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    statuses = [record["status"] for record in records]
    assert statuses == ["done", "failed", "stopped", "done", "done"]
    assert records[1]["code"] == "producer_error"
    assert records[3]["text"] == "answer to two"


async def test_generator_as_worker(hub: Hub, backend: HubClient) -> None:
    """What it yields are the parts."""

    @backend.worker("support")
    async def support(job: Job) -> AsyncIterator[Any]:
        yield {"type": "status", "text": "Searching"}
        yield "Hel"
        yield "lo"

    running = asyncio.create_task(support.run())
    record = await ended(hub, await ask(hub, "why?"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [part["type"] for part in record["parts"]] == ["status", "text"]
    assert record["text"] == "Hello"
