"""Functions of an application, for the tests of the processes that run them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.producer import App, Data, Failed, Run, Source, Status, SyncRun


def _log_end() -> None:
    Path(os.environ["FUNCTION_LOG"]).write_text("left")


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, int]]:
    yield {"pid": os.getpid(), "entered": 1}
    _log_end()


app = App(lifespan=lifespan)


@app.producer(retries=2, max_running=7, timeout_seconds=30)
async def support(run: Run) -> AsyncIterator[object]:
    yield Status("Searching")
    yield Source("https://example.com", title="Example")
    yield f"{run.prompt} {run.user} {run.chat} {run.attempt} {run.state['entered']}"
    yield Data("params", run.params)
    await run.publish("note", {"n": 1})


@app.producer()
async def pid(run: Run) -> str:
    return str(os.getpid())


@app.producer()
async def refused(run: Run) -> str:
    try:
        await run.publish("", {})
    except ValueError as error:
        return str(error)
    return "accepted"


@app.producer()
async def fails(run: Run) -> AsyncIterator[str]:
    yield "a"
    raise ValueError("a secret of the application")


@app.producer()
async def fails_for_the_client(run: Run) -> str:
    raise Failed("no_credit", "There is no credit left.")


@app.producer()
async def crashes(run: Run) -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0.01)
    os._exit(1)


@app.producer()
async def blocks(run: Run) -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0.01)
    time.sleep(60)  # noqa: ASYNC251 - what it must not do


@app.producer()
def blocks_its_thread(run: SyncRun) -> Iterator[str]:
    yield "a"
    time.sleep(0.3)
    yield "b"


@app.producer()
async def endless(run: Run) -> AsyncIterator[str]:
    while True:
        yield "x" * 100


@app.producer()
async def ignores_stop(run: Run) -> AsyncIterator[str]:
    yield str(os.getpid())
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@app.producer()
async def waits(run: Run) -> AsyncIterator[str]:
    yield str(os.getpid())
    await asyncio.Event().wait()


@app.producer(timeout_seconds=0.05)
async def too_slow(run: Run) -> AsyncIterator[str]:
    yield "a"
    await asyncio.Event().wait()


@app.producer()
async def exits(run: Run) -> str:
    sys.exit(1)
