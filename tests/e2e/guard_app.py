"""A function that answers with its prompt, and guards, for the tests with a real worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

from hub.guard import Pass, Replace, Window
from hub.producer import App, Run, Status, Suspend, Text

app = App()


@app.producer()
async def echo(run: Run) -> AsyncIterator[object]:
    """Yield the prompt, one character after the other; `|` is a status."""
    for character in run.prompt:
        yield Status("s") if character == "|" else Text(character)


async def asks(run: Run) -> AsyncIterator[str]:
    """Ask for a value before the text goes on."""
    yield "Write to bob@example.com"
    value = await run.input("ok", "May I?")
    yield f"{value} eve@example.com"


async def suspends(run: Run) -> AsyncIterator[str]:
    """Ask for a value, and end the attempt meanwhile."""
    if run.checkpoint is None:
        yield "Write to bob@example.com"
        raise Suspend("ok", "May I?", state=1)
    yield f"{run.inputs['ok']} eve@example.com"


async def hang(window: Window) -> None:
    await asyncio.Event().wait()


def pid(window: Window) -> Replace:
    return Replace(f"{os.getpid()} ")


def fail(window: Window) -> None:
    raise ValueError("a secret of the application")


def crash_once(window: Window) -> Pass | Replace:
    """Kill the process at the first check of an answer that this guard sees."""
    marker = os.environ["GUARD_MARKER"]
    if not os.path.exists(marker):  # noqa: PTH110 - a guard as an application writes it
        with open(marker, "w"):  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
    return Replace(window.text.upper())
