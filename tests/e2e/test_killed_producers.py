"""kill -9 of a worker and of an external producer, behind each part and each checkpoint."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.sse_decoder import SseDecoder
from tests.e2e.cluster import ENDS, Cluster, create_cluster
from tests.e2e.counting_app import PARTS

APP = "tests.e2e.counting_app"
TEXT = "".join(f"{n} " for n in range(PARTS))
Event = tuple[str, dict[str, Any]]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A node whose workers have short leases."""
    async with create_cluster() as cluster:
        for name in ("counting", "once"):
            cluster.set(f"UPSTREAMS__{name.upper()}__KIND", "function")
            cluster.set(f"UPSTREAMS__{name.upper()}__TARGET", f"{APP}:{name}")
        cluster.set("WORKER__LEASE_SECONDS", 4.0)  # a worker may stall, but not for that long
        cluster.set_environment({"COUNTING_LOG": str(tmp_path / "log")})
        await cluster.start()
        yield cluster


async def read(
    cluster: Cluster, user: str, cursor: str, on_waiting: Callable[[str], Awaitable[None]]
) -> list[Event]:
    """Return the events of an answer. on_waiting: called with each status."""
    decoder, events = SseDecoder(), list[Event]()
    url, headers = f"{cluster.url}/sse/connect/{user}", {"Last-Event-ID": cursor}
    async with asyncio.timeout(100), cluster.session.get(url, headers=headers) as response:
        async for chunk in response.content.iter_any():
            for event in decoder.feed(chunk):
                if not event.name.startswith("generation."):
                    continue
                data = json.loads(event.data)
                events.append((event.name, data))
                if event.name in ENDS:
                    return events
                if data.get("type") == "status":
                    await on_waiting(data["text"])
    raise AssertionError(f"the stream ended: {events}")


def check(events: list[Event], attempts: int) -> None:
    """Check the numbers of the parts, what each attempt keeps, and the text at the end."""
    parts: list[str] = []
    numbers = [1]
    for name, data in events:
        match name:
            case "generation.delta" | "generation.part":
                assert data["i"] == len(parts), events
                parts.append(data.get("text", "") if name == "generation.delta" else "")
            case "generation.continued":
                numbers.append(data["attempt"])
                del parts[data["parts"] :]
                assert data["snapshot"]["text"] == "".join(parts)
            case "generation.restarted":
                numbers.append(data["attempt"])
                parts = []
    assert numbers == [*range(1, attempts + 1)]
    assert [name for name, _ in events].count("generation.started") == 1
    assert (events[-1][0], "".join(parts)) == ("generation.done", TEXT)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_worker(cluster: Cluster, tmp_path: Path) -> None:
    """Readers have each part once, and no step is called again that has been stored.

    A function that may not be repeated is never called twice: its answer fails.
    """
    workers = {process.pid: process for process in [await cluster.start_worker() for _ in range(2)]}

    async def kill(status: str) -> None:
        if status.startswith("attempt"):
            victim = workers.pop(int(status.rsplit(" ", 1)[1]))
            victim.kill()
            await victim.wait()
            process = await cluster.start_worker()
            workers[process.pid] = process

    status, started = await cluster.start_generation("alice", "count", "counting")
    assert status == 202, started
    events = await read(cluster, "alice", started["cursor"], kill)
    check(events, attempts=2 * PARTS + 1)
    assert (tmp_path / "log").read_text().split() == TEXT.split()

    (tmp_path / "log").unlink()
    _, started = await cluster.start_generation("alice", "count", "once")
    events = await read(cluster, "alice", started["cursor"], kill)
    assert events[-1][0] == "generation.failed"
    assert events[-1][1]["code"] == "producer_lost"
    assert (tmp_path / "log").read_text() == "once\n"


async def test_external_producer(cluster: Cluster) -> None:
    """A program that begins again with the same id continues at the newest checkpoint."""
    programs: list[asyncio.subprocess.Process] = []

    async def start() -> None:
        command = [sys.executable, "-m", APP, cluster.internal_url, "the id"]
        programs.append(await asyncio.create_subprocess_exec(*command))

    async def kill(status: str) -> None:
        if status == f"attempt {len(programs)}" and len(programs) <= 2 * PARTS:
            os.kill(programs[-1].pid, signal.SIGKILL)
            assert await programs[-1].wait() == -signal.SIGKILL
            await start()

    await start()
    events = await read(cluster, "external", "start", kill)
    assert await programs[-1].wait() == 0
    check(events, attempts=2 * PARTS + 1)
