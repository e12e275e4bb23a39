"""Functions of an application that ask for input, for the tests of workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from hub.producer import App, InputTimeout, Run, Suspend, SyncRun

app = App()


@app.producer(retries=1)
async def asks_for_input(run: Run) -> AsyncIterator[str]:
    yield "a"
    value = await run.input("refund", "?", options=["yes", "no"], approvers=["bob"])
    yield f" {value}"


@app.producer(retries=1)
def asks_for_input_in_a_thread(run: SyncRun) -> Iterator[str]:
    yield "a"
    value = run.input("refund", "?", options=["yes", "no"], approvers=["bob"])
    yield f" {value}"


@app.producer(timeout_seconds=2)
async def asks_longer_than_it_may_run(run: Run) -> AsyncIterator[str]:
    before = run.deadline
    yield "a"
    value = await run.input("refund", "?")
    assert before is not None
    assert run.deadline is not None
    assert run.deadline > before
    yield f" {value}"


@app.producer()
async def asks_too_late(run: Run) -> str:
    try:
        await run.input("refund", "?", timeout_seconds=0.02)
    except InputTimeout as error:
        return f"{error.code}"
    return "answered"


@app.producer()
async def waits_no_longer(run: Run) -> str:
    try:
        async with asyncio.timeout(0.01):
            await run.input("refund", "?")
    except TimeoutError:
        return "gone on"
    return "answered"


@app.producer()
async def suspends(run: Run) -> AsyncIterator[str]:
    if run.checkpoint is None:
        yield "a"
        raise Suspend("refund", "?", state="saved", approvers=["bob"])
    yield f" {run.inputs['refund']} {run.checkpoint}"
