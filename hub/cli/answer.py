"""Showing an answer on a terminal while it grows."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import aclosing
from typing import Any

import typer

from hub.client import HubClient

_ENDS = ("generation.done", "generation.stopped", "generation.failed")


async def show_answer(
    hub: HubClient, user: str, started: dict[str, Any], *, as_json: bool
) -> str | None:
    """Prints until the end event; the text goes to standard output, all else to standard error.

    Returns why it failed, or None. Ctrl-C asks the hub to stop it; a second one leaves at once.
    """
    loop = asyncio.get_running_loop()
    generation = started["generation"]
    stops: list[asyncio.Task[Any]] = []

    def stop() -> None:
        if stops:
            raise KeyboardInterrupt
        stops.append(loop.create_task(hub.stop(user, generation), name="stop"))

    loop.add_signal_handler(signal.SIGINT, stop)
    begun = loop.time()
    async with aclosing(hub.events(user, cursor=started["cursor"])) as events:
        async for event in events:
            if not event.name.startswith("generation."):
                continue
            data = event.json()
            if data.get("generation") != generation:
                continue
            if as_json:
                print(json.dumps({"event": event.name, **data}, ensure_ascii=False), flush=True)
            else:
                _show(event.name, data, loop.time() - begun)
            if event.name in _ENDS:
                if event.name == "generation.failed":
                    return f"the answer failed: {data['message']} ({data['code']})"
                if stops:
                    sys.exit(130)
                return None
    return "the stream ended before the answer did"


def _show(name: str, data: dict[str, Any], seconds: float) -> None:
    match name:
        case "generation.started":
            model = data["model"]
            mark = ", simulated" if model.startswith("simulated") else ""
            _note(f"{model}{mark}\n")
        case "generation.restarted":
            _note("\n(the worker was lost; another begins the answer anew)\n")
        case "generation.replaced":
            _note("\n(the upstream rewrote its answer)\n")
            print(data["text"], end="", flush=True)
        case "generation.delta":
            print(data.get("text", ""), end="", flush=True)
        case "generation.done":
            usage = data.get("usage") or {}
            tokens = usage.get("completion_tokens")
            counted = f"{tokens} tokens, " if tokens is not None else ""
            print(flush=True)
            _note(f"{counted}{data['deltas']} deltas, {seconds:.1f} s")
        case "generation.stopped":
            print(flush=True)
            _note(f"stopped by {data['by']}")
        case _:
            print(flush=True)


def _note(text: str) -> None:
    if sys.stderr.isatty():
        text = typer.style(text, dim=True)
    print(text, file=sys.stderr, flush=True)
