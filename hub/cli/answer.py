"""Showing an answer on a terminal while it grows."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import msgspec
import typer

from hub.client import (
    Answer,
    AnswerEvent,
    Delta,
    Done,
    Failed,
    Replaced,
    Restarted,
    Started,
    Stopped,
)


async def show_answer(answer: Answer, *, as_json: bool) -> str | None:
    """Prints until the end event; the text goes to standard output, all else to standard error.

    Returns why it failed, or None. Ctrl-C asks the hub to stop it; a second one leaves at once.
    """
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[Any]] = []

    def stop() -> None:
        if stops:
            raise KeyboardInterrupt
        stops.append(loop.create_task(answer.stop(), name="stop"))

    loop.add_signal_handler(signal.SIGINT, stop)
    begun = loop.time()
    failure = None
    async for event in answer.events():
        if as_json:
            shown = {"event": event.name, **msgspec.to_builtins(event)}
            print(json.dumps(shown, ensure_ascii=False), flush=True)
        else:
            _show(event, loop.time() - begun)
        if isinstance(event, Failed):
            failure = f"the answer failed: {event.message} ({event.code})"
    if stops and failure is None:
        sys.exit(130)
    return failure


def _show(event: AnswerEvent, seconds: float) -> None:
    match event:
        case Started(model=model):
            mark = ", simulated" if (model or "").startswith("simulated") else ""
            _note(f"{model}{mark}\n")
        case Restarted():
            _note("\n(the worker was lost; another begins the answer anew)\n")
        case Replaced(text=text):
            _note("\n(the upstream rewrote its answer)\n")
            print(text, end="", flush=True)
        case Delta(text=text):
            print(text, end="", flush=True)
        case Done():
            tokens = (event.usage or {}).get("completion_tokens")
            counted = f"{tokens} tokens, " if tokens is not None else ""
            print(flush=True)
            _note(f"{counted}{event.deltas} deltas, {seconds:.1f} s")
        case Stopped(by=by):
            print(flush=True)
            _note(f"stopped by {by}")
        case _:
            print(flush=True)


def _note(text: str) -> None:
    if sys.stderr.isatty():
        text = typer.style(text, dim=True)
    print(text, file=sys.stderr, flush=True)
