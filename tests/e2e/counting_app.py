"""Producers that count, and stop at each part until somebody kills their process.

As a program it is an external producer: python -m tests.e2e.counting_app URL ID
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from hub.producer import App, Part, Run, Status
from hub_client import HubClient

PARTS = 3
app = App()


def record(name: str) -> str:
    """Write down that a step was called."""
    with Path(os.environ["COUNTING_LOG"]).open("a") as log:
        log.write(f"{name}\n")
    return name


async def wait_at(moment: int, attempt: int) -> AsyncIterator[Part]:
    """Say which process is at its moment, and wait there."""
    if attempt == moment:
        yield Status(f"attempt {attempt} in worker {os.getppid()}")
        await asyncio.Event().wait()


@app.producer(retries=2 * PARTS)
async def counting(run: Run) -> AsyncIterator[str | Part]:
    """Wait behind each part, and behind each checkpoint."""
    for n in range(run.checkpoint or 0, PARTS):
        yield await run.step(str(n), record, f"{n} ")
        async for part in wait_at(2 * n + 1, run.attempt):
            yield part
        await run.save(n + 1)
        async for part in wait_at(2 * n + 2, run.attempt):
            yield part


@app.producer()
async def once(run: Run) -> AsyncIterator[str | Part]:
    """Wait behind the first part. It does not say that it may be repeated."""
    yield record("once")
    async for part in wait_at(1, run.attempt):
        yield part


async def post(url: str, id_: str) -> None:
    """Post the parts of an answer; wait behind each part, and behind each checkpoint."""
    async with (
        HubClient(url, internal_url=url) as backend,
        backend.generation(user="external", id=id_, lease_seconds=60) as answer,
    ):
        for n in range(answer.checkpoint or 0, PARTS):
            await answer.write(f"{n} ")
            if answer.attempt == 2 * n + 1:
                await answer.write(Status(f"attempt {answer.attempt}"))
                await asyncio.Event().wait()
            await answer.write(Status(f"attempt {answer.attempt}"), checkpoint=n + 1)
            if answer.attempt == 2 * n + 2:
                await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(post(*sys.argv[1:]))
