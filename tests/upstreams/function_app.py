"""Functions of an application, for the tests of the processes that run them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.producer import (
    App,
    Data,
    Failed,
    Part,
    Run,
    Source,
    Status,
    SyncRun,
    UpstreamFailed,
    Usage,
)


def _log_end() -> None:
    if path := os.environ.get("FUNCTION_LOG"):
        Path(path).write_text("left")


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
async def fails_without_unicode(run: Run) -> AsyncIterator[str]:
    if run.params["a"] == "for the client":
        yield "a"
        raise Failed("no_credit", "lone \ud800")
    yield "a"
    raise ValueError("lone \ud800")


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
    time.sleep(1.5)
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


def _describe(error: Exception) -> str:
    if isinstance(error, UpstreamFailed):
        report = error.report
        return f"{error.code} {error.message} {error.retryable} {report.status} {report.code}"
    return str(error)


@app.producer()
async def asks(run: Run) -> AsyncIterator[Part | str]:
    for ask in run.metadata["asks"]:
        try:
            async for part in run.ask(**ask):
                yield part
        except (UpstreamFailed, ValueError, TypeError) as error:
            if "catch" not in run.metadata:
                raise
            yield Status(_describe(error))


@app.producer()
def asks_in_thread(run: SyncRun) -> Iterator[Part | str]:
    for ask in run.metadata["asks"]:
        try:
            yield from run.ask(**ask)
        except (UpstreamFailed, ValueError, TypeError) as error:
            if "catch" not in run.metadata:
                raise
            yield Status(_describe(error))


@app.producer()
async def asks_in_task(run: Run) -> AsyncIterator[Part]:
    parts: asyncio.Queue[Part] = asyncio.Queue()

    async def read() -> None:
        async for part in run.ask("hi"):
            parts.put_nowait(part)

    task = asyncio.create_task(read())
    yield await parts.get()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


@app.producer()
async def takes_one(run: Run) -> AsyncIterator[Part]:
    answer = run.ask("hi")
    yield await anext(answer)
    await asyncio.Event().wait()


@app.producer()
async def drops(run: Run) -> AsyncIterator[Part]:
    async for part in run.ask("hi"):
        yield part
        break
    answer = run.ask("hi")
    yield await anext(answer)
    await answer.aclose()
    await asyncio.Event().wait()


@app.producer()
def drops_in_thread(run: SyncRun) -> Iterator[Part]:
    for part in run.ask("hi"):
        yield part
        break
    answer = run.ask("hi")
    yield next(answer)
    answer.close()
    time.sleep(0.5)


@app.producer()
async def reports_usage(run: Run) -> AsyncIterator[Part]:
    yield Usage({"prompt_tokens": 1, "completion_tokens": 1})
    answer = run.ask("hi")
    async for part in answer:
        yield part
    assert answer.usage == {"prompt_tokens": 5, "completion_tokens": 5}
    assert answer.finish_reason == "stop"
    yield Usage({"completion_tokens": 2})


@app.producer()
async def asks_and_crashes(run: Run) -> None:
    async for _ in run.ask("hi"):
        os._exit(1)


@app.producer(retries=1)
async def durable(run: Run) -> AsyncIterator[str]:
    """Kill the own process in the first attempt, at the moment that the metadata names."""

    def reach(moment: str) -> None:
        if run.attempt == 1 and run.metadata["killed_at"] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def call() -> str:
        with Path(run.metadata["log"]).open("a") as log:
            log.write("called ")
        return "result "

    if run.checkpoint is None:
        yield await run.step("s", call)
        reach("step")
        yield "saved "
        await run.save(run.attempt)
        reach("checkpoint")
    yield f"{run.checkpoint or run.attempt}"
    await run.step("t", call, visible=False)
    reach("end")


def _wait_for(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.01)


@app.producer()
async def blocks_until(run: Run) -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0.01)
    _wait_for(run.metadata["file"])
    yield "b"


@app.producer()
def blocks_its_thread_until(run: SyncRun) -> Iterator[str]:
    yield "a"
    _wait_for(run.metadata["file"])
    yield "b"


@app.producer()
async def waits_until(run: Run) -> AsyncIterator[str]:
    yield "a"
    while not Path(run.metadata["file"]).exists():  # noqa: ASYNC240 - another process
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue
    yield "b"
