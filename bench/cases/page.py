"""The demo page while it shows long answers: frames and tasks that take too long, and its heap.

A frame takes long also when other processes have the processor. The tasks of the main thread are
therefore measured in CPU time as well, from a trace of the browser.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from playwright.async_api import CDPSession, Page, expect

from bench.load import Row
from tests.chromium import open_chromium
from tests.e2e.conftest import Dev

_ANSWERS: Final = 12  # three of each kind
_LONG_TASK_US: Final = 50_000
_TASKS: Final = "ThreadControllerImpl::RunTask"
_ANSWER_BYTES: Final = 50_000
_DELTAS_PER_SECOND: Final = 400
_DELTA_CHARS: Final = 5
_END_TIMEOUT_MS: Final = 600_000  # a busy machine draws what has arrived for minutes
_MIXED: Final = """\
## A heading

A paragraph with **bold words**, `code`, a [link](https://example.com) and some more plain words.

1. The first item
2. The second one, which is longer than the first

| name | value |
|---|---|
| one | 1 |

```python
def answer(question: str) -> str:
    return question[::-1]
```

"""
_TEXT: Final = (
    "A paragraph with **bold words**, `code`, a [link](https://example.com) and more plain words. "
    * 8
)
# Of each kind of answer: its beginning, and what is repeated behind it.
_KINDS: Final = {
    "mixed": ("", _MIXED),
    "text": ("", f"{_TEXT}\n\n"),
    "table": ("| name | value | note |\n|---|--:|---|\n", "| one | 1 | with **words** |\n"),
    "list": ("", "- An item of *some* words\n  - and one in it\n"),
}
_HAS_ENDED: Final = """(count) => {
    const answers = document.querySelectorAll("[data-testid=answer]");
    return answers.length === count && answers[count - 1].dataset.status === "done";
}"""
_WATCH_FRAMES: Final = """() => {
    window.longFrames = [];  // a browser reports those of more than 50 ms
    new PerformanceObserver((list) => {
        for (const each of list.getEntries()) longFrames.push([each.startTime, each.duration]);
    }).observe({ type: "long-animation-frame" });
}"""


def measure_page(answers: int | None = None) -> Callable[[], list[Row]]:
    """Return P12: answers of 50 kB with 400 deltas a second: frames over 50 ms, and the heap.

    answers: how many of them; by default, three of each kind.
    """
    return lambda: _measure_page(answers or _ANSWERS)


def _measure_page(answers: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        dev = Dev(Path(folder))
        try:
            dev.wait_until_ready()
            return asyncio.run(_measure(dev, answers))
        finally:
            dev.stop()


async def _measure(dev: Dev, answers: int) -> list[Row]:
    async with open_chromium() as browser:
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        await page.goto(f"{dev.url}/?user=bench")
        await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "live")
        await page.evaluate(_WATCH_FRAMES)
        kinds = islice(cycle(_KINDS), answers)
        return [await _measure_answer(dev, page, session, kind) for kind in kinds]


async def _measure_answer(dev: Dev, page: Page, session: CDPSession, kind: str) -> Row:
    await page.evaluate("longFrames.length = 0")
    started_at = await page.evaluate("performance.now()")
    count = await page.get_by_test_id("answer").count() + 1
    trace = Trace(session)
    await trace.start()
    busy_before, start = await _busy_seconds(session), time.monotonic()
    await _produce(dev, kind)
    # `expect` would describe the whole page after its first look, in a task of seconds.
    await page.wait_for_function(_HAS_ENDED, arg=count, polling=200, timeout=_END_TIMEOUT_MS)
    seconds = time.monotonic() - start
    busy = await _busy_seconds(session) - busy_before
    long_frames = await page.evaluate(
        "first => longFrames.filter(([at]) => at > first).map(([, duration]) => duration)",
        started_at + 1000,
    )
    tasks = await trace.stop()
    await session.send("HeapProfiler.collectGarbage")
    heap = await session.send("Runtime.getHeapUsage")
    return {
        "kind": kind,
        "seconds": round(seconds, 1),
        "frames over 50 ms": len(long_frames),
        "longest, ms": round(max(long_frames, default=0)),
        "tasks over 50 ms of CPU": sum(each > _LONG_TASK_US for each in tasks),
        "longest task, ms of CPU": round(max(tasks, default=0) / 1000),
        "main thread, % of CPU": round(sum(tasks) / seconds / 1e4, 1),
        "main thread, %": round(100 * busy / seconds, 1),
        "heap, MB": round(heap["usedSize"] / 1e6, 1),
        "load": round(os.getloadavg()[0], 1),
    }


class Trace:
    """The tasks of the page's main thread, from the browser's own trace."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session
        self._events: list[dict[str, Any]] = []
        self._has_ended = asyncio.Event()

    async def start(self) -> None:
        self._session.on("Tracing.dataCollected", self._on_data)
        self._session.on("Tracing.tracingComplete", self._on_end)
        config = {"includedCategories": ["toplevel", "devtools.timeline"]}
        await self._session.send(
            "Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config}
        )

    async def stop(self) -> list[int]:
        """Return the CPU time of each task after the first second, in microseconds."""
        await self._session.send("Tracing.end")
        await self._has_ended.wait()
        self._session.remove_listener("Tracing.dataCollected", self._on_data)
        self._session.remove_listener("Tracing.tracingComplete", self._on_end)
        frames = Counter(
            (each["pid"], each["tid"])
            for each in self._events
            if each["name"] == "FireAnimationFrame"
        )
        if not frames:
            return []
        thread = frames.most_common(1)[0][0]
        tasks = [
            each
            for each in self._events
            if (each["pid"], each["tid"]) == thread and each["name"] == _TASKS
        ]
        first = min(each["ts"] for each in tasks) + 1_000_000
        return [each.get("tdur", 0) for each in tasks if each["ts"] > first]

    def _on_data(self, event: dict[str, Any]) -> None:
        self._events += event["value"]

    def _on_end(self, _: dict[str, Any]) -> None:
        self._has_ended.set()


async def _busy_seconds(session: CDPSession) -> float:
    """Return for how long the tasks of the page have run."""
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


async def _produce(dev: Dev, kind: str) -> None:
    """Answer as an external producer, one delta after the other, with a request for each second."""
    body = {"to": {"user": "bench"}, "producer": "external", "model": "bench"}
    started = await asyncio.to_thread(dev.call, "POST", "/generations", body, internal=True)
    path = f"{dev.internal_url}/generations/{started['generation']}/parts"
    headers = {"Hub-Lease": started["lease"], "Content-Type": "application/x-ndjson"}
    beginning, block = _KINDS[kind]
    text = beginning + block * (_ANSWER_BYTES // len(block))
    texts = [text[i : i + _DELTA_CHARS] for i in range(0, len(text), _DELTA_CHARS)]
    parts = [{"seq": seq, "type": "text", "text": each} for seq, each in enumerate(texts)]
    parts.append({"seq": len(texts), "type": "end", "status": "done"})
    async with aiohttp.ClientSession() as session:
        for first in range(0, len(parts), _DELTAS_PER_SECOND):
            lines = _stream(parts[first : first + _DELTAS_PER_SECOND])
            async with session.post(path, data=lines, headers=headers) as response:
                response.raise_for_status()
                await response.read()


async def _stream(parts: Sequence[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    started_at = time.monotonic()
    for number, part in enumerate(parts):
        yield msgspec.json.encode(part) + b"\n"
        due = started_at + (number + 1) / _DELTAS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.monotonic()))
