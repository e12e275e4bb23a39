"""Print an answer on the terminal while it grows."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import typer

from hub.cli.input_responder import InputResponder
from hub.cli.terminal import Terminal
from hub_client import (
    Answer,
    AnswerEvent,
    Continued,
    Delta,
    Done,
    Failed,
    InputExpired,
    InputReceived,
    InputRequested,
    Part,
    Replaced,
    Restarted,
    Snapshot,
    Started,
    Steered,
    Stopped,
)

_MAX_VALUE_CHARS: Final = 120
_QUEUED_NOTE_SECONDS: Final = 3.0
_QUEUED_NOTE: Final = (
    "(the request is in the queue, and no worker has taken it yet. Is `hub worker` running, with "
    "the same redis.url and upstreams as the node? Ctrl-C stops the request.)"
)


async def print_answer(
    answer: Answer, *, as_json: bool, inputs: Mapping[str, str] | None = None
) -> str | None:
    """Print the answer up to its end event: text to standard output, the rest to standard error.

    If no worker takes the request, a note says so.
    inputs: the values for the inputs that the answer asks for, by key. A person at the terminal
    gives the others; without a terminal the request is printed, and somebody else answers it.

    Ctrl-C sends a stop request to the hub. A second Ctrl-C ends the command at once.
    Return why the answer failed, or None. After a stop, exit with code 130.
    """
    loop = asyncio.get_running_loop()
    stop_requests: list[asyncio.Task[Any]] = []

    def on_interrupt() -> None:
        if stop_requests:
            raise KeyboardInterrupt
        stop_requests.append(loop.create_task(answer.stop(), name="stop"))

    with suppress(NotImplementedError):  # on Windows, the first Ctrl-C ends the command
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    started_at = loop.time()
    failure = None
    note = loop.call_later(_QUEUED_NOTE_SECONDS, _print_note, _QUEUED_NOTE)
    terminal = Terminal() if Terminal.is_available() and not as_json else None
    responder = InputResponder(answer, inputs or {}, terminal)
    async for event in answer.events():
        if answer.status != "queued":
            note.cancel()
        if as_json:
            fields = {"event": event.name, **msgspec.to_builtins(event)}
            fields |= fields.pop("fields", {})  # those of a part
            print(json.dumps(fields, ensure_ascii=False), flush=True)
        else:
            _print_event(event, loop.time() - started_at)
            if isinstance(event, InputRequested) and not responder.will_respond(event.input):
                _print_note(_describe_request(event))
        responder.on_event(event)
        if isinstance(event, Failed):
            failure = f"the answer failed: {event.message} ({event.code})"
    note.cancel()
    await responder.close()
    if stop_requests and failure is None:
        sys.exit(130)
    return failure


def _print_event(event: AnswerEvent, seconds: float) -> None:
    match event:
        case Started(model=model):
            suffix = ", simulated" if (model or "").startswith("simulated") else ""
            _print_note(f"{model}{suffix}\n")
        case Restarted() | Continued() | Replaced() | Snapshot():
            _print_whole_text(event)
        case Delta(text=text):
            for call in event.tool_calls or ():
                name = call.get("function", {}).get("name")
                if name:  # only the first delta of a call has it
                    _print_note(f"(tool: {name})")
            _print_text(text)
        case Part():
            _print_part(event)
        case InputReceived() | InputExpired() | Steered():
            _print_note(_describe(event))
        case Done():
            tokens = (event.usage or {}).get("completion_tokens")
            token_count = f"{tokens} tokens, " if tokens is not None else ""
            print(flush=True)
            _print_note(f"{token_count}{event.deltas} deltas, {seconds:.1f} s")
        case Stopped(by=by):
            print(flush=True)
            _print_note(f"stopped by {by}")
        case Failed():
            print(flush=True)


def _print_whole_text(event: Restarted | Continued | Replaced | Snapshot) -> None:
    """Print the text that takes the place of what was printed before."""
    match event:
        case Restarted():
            _print_note("\n(the worker was lost; another worker starts the answer again)\n")
        case Continued(snapshot=snapshot):
            _print_note("\n(a new attempt continues the answer)\n")
            _print_text(snapshot.text)
        case Replaced(text=text):
            _print_note("\n(the upstream rewrote its answer)\n")
            _print_text(text)
        case Snapshot(text=text):
            _print_note("\n(the answer so far)\n")
            _print_text(text)


def _print_part(part: Part) -> None:
    match part:
        case Part(type="status", fields={"text": text}):
            _print_note(f"({text})")
        case Part(type="step_start", fields={"name": name}):
            _print_note(f"(step: {name})")
        case Part(type="source", fields={"url": url}):
            title = part.fields.get("title")
            _print_note(f"(source: {title}, {url})" if title else f"(source: {url})")
        case Part(type="tool_result", fields={"result": result}):
            outcome = "error" if part.fields.get("is_error") else "result"
            _print_note(f"(tool {outcome}: {_shorten(result)})")
        case Part(type="data", fields={"name": name, "value": value}):
            _print_note(f"({name}: {_shorten(value)})")
        case Part(type="file"):
            name = part.fields.get("name") or part.fields.get("url") or "without a name"
            _print_note(f"(file: {name})")
        case _:
            pass


def _describe(event: InputReceived | InputExpired | Steered) -> str:
    match event:
        case InputReceived(value=value, by=by):
            return f"({event.input}: {_shorten(value)}, from {by})"
        case InputExpired():
            return f"({event.input}: nobody has answered in time)"
        case Steered(message=message, by=by):
            return f"(message from {by}: {_shorten(message)})"


def _describe_request(event: InputRequested) -> str:
    """Return what is asked, and how it can be answered, for a command without a terminal."""
    wanted = ""
    if event.options is not None:
        wanted = f" One of: {', '.join(event.options)}."
    elif event.schema is not None:
        wanted = f" Its schema: {json.dumps(event.schema, ensure_ascii=False)}."
    return (
        f"(the answer waits for {event.input}: {event.prompt}{wanted} Answer it in another client, "
        f"or next time with --input '{event.input}=VALUE'.)"
    )


def _shorten(value: Any) -> str:
    """Return a JSON value as text that fits on a line or two."""
    return textwrap.shorten(json.dumps(value, ensure_ascii=False), _MAX_VALUE_CHARS)


def _print_text(text: str) -> None:
    print(text, end="", flush=True)


def _print_note(text: str) -> None:
    if sys.stderr.isatty():
        text = typer.style(text, dim=True)
    print(text, file=sys.stderr, flush=True)
