"""Functions that yield texts at the pace of an LLM, for the benchmark `producers`.

The text is that of the endpoint of the benchmark `relay`: the load generator reads times in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from hub.producer import App, Run, SyncRun

app = App()


@app.producer()
async def asynchronous(run: Run) -> AsyncIterator[str]:
    due = time.monotonic()
    for n in range(run.metadata["parts"]):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield f"T={time.monotonic_ns()};N={n};"
        due += 1 / run.metadata["rate"]


@app.producer()
def synchronous(run: SyncRun) -> Iterator[str]:
    due = time.monotonic()
    for n in range(run.metadata["parts"]):
        time.sleep(max(0.0, due - time.monotonic()))
        yield f"T={time.monotonic_ns()};N={n};"
        due += 1 / run.metadata["rate"]
