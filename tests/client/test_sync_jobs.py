"""Questions and stops of the client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hub_client import (
    GenerationStopped,
    LeaseLost,
    RetryPolicy,
    SyncHubClient,
    SyncJob,
    SyncProducedAnswer,
)
from tests.client.test_jobs import ask, ended
from tests.client.test_producer import Fault, relayed
from tests.http.kit import Hub, running_hub

FAST = RetryPolicy(min_delay_seconds=0.001)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with an upstream of the kind queue."""
    async with running_hub() as hub:
        yield hub


@contextmanager
def client(hub: Hub) -> Iterator[SyncHubClient]:
    with SyncHubClient(f"http://127.0.0.1:{hub.internal_port}", retry=FAST) as backend:
        yield backend


async def in_thread(function: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        return await asyncio.to_thread(function)


async def test_jobs(hub: Hub) -> None:
    """Each job has the question, and its answer ends with its block."""
    generations = [
        await ask(hub, "why?", chat="c", metadata={"n": 1}, params={"temperature": 0}),
        await ask(hub, "how?"),
    ]

    def answer() -> list[SyncJob]:
        jobs = []
        with client(hub) as backend:
            for job in backend.jobs("support"):
                jobs.append(job)
                with job:
                    job.write(f"You asked: {job.prompt}")
                if len(jobs) == 2:
                    break
        return jobs

    first, second = await in_thread(answer)
    assert [first.generation, second.generation] == generations
    assert (first.user, first.attempt, first.request.chat) == ("alice", 1, "c")
    assert (first.request.metadata, first.request.params) == ({"n": 1}, {"temperature": 0})
    assert second.messages[0]["content"] == "how?"
    assert (await ended(hub, generations[0]))["text"] == "You asked: why?"
    assert (await ended(hub, generations[1]))["status"] == "done"


async def test_job_that_is_not_ended_returns(hub: Hub) -> None:
    """The next claim gets it, also after its process was asked to end; an exception fails it."""
    generation = await ask(hub, "why?")

    def take(error: BaseException | None) -> str:
        with client(hub) as backend:
            for job in backend.jobs("support"):
                if error is None:
                    return job.generation
                with job:
                    job.write("half")
                    raise error
        raise AssertionError

    assert await in_thread(lambda: take(None)) == generation
    with pytest.raises(KeyboardInterrupt):
        await in_thread_of_its_own(lambda: take(KeyboardInterrupt()))
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: take(ZeroDivisionError()))
    record = await ended(hub, generation)
    assert (record["status"], record["code"]) == ("failed", "producer_error")


async def in_thread_of_its_own(function: Callable[[], Any]) -> None:
    """Run a function that raises what would end a worker of asyncio's threads."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - passed on
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(thread.join)
    raise raised[0]


@pytest.mark.parametrize("call", ["write", "flush", "wait"])
@pytest.mark.parametrize("signal", ["stop", "lease"])
async def test_signal_while_the_producer_waits(call: str, signal: str) -> None:
    """A stop and a lost lease end each wait at once, although no post gets an answer. The control
    stream was cut twice before.
    """

    def refuse() -> None:
        raise Fault

    def produce(url: str, started: Callable[[str], object], refuses: Callable[[], None]) -> None:
        with (
            SyncHubClient(url, retry=FAST) as backend,
            backend.generation(user="alice", id="k", lease_seconds=900) as answer,
        ):
            answer.write("a")
            answer.flush()
            refuses()
            answer.write("b")
            started(answer.generation)
            waits: dict[str, Callable[[SyncProducedAnswer], None]] = {
                "write": lambda answer: answer.write("x" * 2_000_000),
                "flush": lambda answer: answer.flush(),
                "wait": lambda answer: answer.wait(600),
            }
            waits[call](answer)

    async with relayed() as (hub, relay, backend):
        relay.control_faults = 2
        loop = asyncio.get_running_loop()
        generation: asyncio.Future[str] = loop.create_future()
        producing = asyncio.create_task(
            asyncio.to_thread(
                produce,
                backend._internal_url or "",
                lambda name: loop.call_soon_threadsafe(generation.set_result, name),
                lambda: setattr(relay, "on_request", refuse),
            )
        )
        async with asyncio.timeout(60):
            name = await generation
            if signal == "stop":
                await hub.call("DELETE", f"/generations/{name}?user=alice")
            else:
                body = {"to": {"user": "alice"}, "producer": "external", "id": "k"}
                await hub.call("POST", "/generations", internal=True, json=body)
            with pytest.raises(GenerationStopped if signal == "stop" else LeaseLost):
                await producing
        assert relay.controls > 2


async def test_wait_without_a_signal(hub: Hub) -> None:
    """`wait` returns after its time, and no thread is left when the block has ended."""

    def produce() -> set[str]:
        with client(hub) as backend, backend.generation(user="alice") as answer:
            answer.write("a")
            answer.wait(0.001)
        return {thread.name for thread in threading.enumerate()}

    names = await in_thread(produce)
    assert "hub producer" not in names
    async with asyncio.timeout(60):
        while any(each.name == "hub producer control" for each in threading.enumerate()):
            await asyncio.sleep(0.01)
