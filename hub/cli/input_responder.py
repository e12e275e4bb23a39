"""Answers the inputs of an answer: with the values of `--input`, or by asking at the terminal.

Invariants:
1. One prompt is shown at a time.
2. A prompt ends when its input waits no longer: another tab was faster, the time is over, or the
   answer has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hub.cli.input_fields import Field, choices_of, list_fields, parse_entry, parse_flag
from hub.cli.terminal import EndOfInput, Terminal
from hub_client import (
    Answer,
    AnswerEvent,
    Continued,
    HubClientError,
    HubUnavailable,
    HubUnreachable,
    InputExpired,
    InputReceived,
    InputRequested,
    Restarted,
    Snapshot,
    TooManyRequests,
)

_CHANGES_INPUTS: Final = (
    *(InputRequested, InputReceived, InputExpired),
    *(Snapshot, Restarted, Continued),
)


class InputResponder:
    """given: the values of `--input`, by key. terminal: None if nobody can be asked."""

    def __init__(self, answer: Answer, given: Mapping[str, str], terminal: Terminal | None) -> None:
        self._answer = answer
        self._given = dict(given)
        self._terminal = terminal
        self._tasks: dict[str, asyncio.Task[None]] = {}  # those that answer, by key
        self._prompting = asyncio.Lock()

    def on_event(self, event: AnswerEvent) -> None:
        """Begin to answer the inputs that wait, and leave those that wait no longer."""
        if not isinstance(event, _CHANGES_INPUTS) and not self._answer.ended:
            return
        waiting = {part["input"]: part for part in self._answer.waiting_inputs}
        for key in self._tasks.keys() - waiting.keys():
            self._tasks.pop(key).cancel()
        for key, part in waiting.items():
            if key not in self._tasks and (key in self._given or self._terminal is not None):
                work = self._respond(part)
                self._tasks[key] = asyncio.get_running_loop().create_task(work, name="input")

    async def close(self) -> None:
        """Leave all inputs."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def will_respond(self, key: str) -> bool:
        """Return whether a flag or a person at the terminal answers this input."""
        return key in self._given or self._terminal is not None

    async def _respond(self, part: Mapping[str, Any]) -> None:
        key, terminal = part["input"], self._terminal or Terminal()
        if key in self._given:
            value = parse_flag(self._given.pop(key), part.get("options"), part.get("schema"))
            if await self._send(terminal, key, value):
                return
            if self._terminal is None:
                elsewhere = "Answer it in another client; Ctrl-C stops the answer."
                terminal.show(f"(the answer still waits for {key}. {elsewhere})")
                return
        async with self._prompting:
            try:
                while not await self._send(terminal, key, await _prompt(terminal, part)):
                    pass
            except EndOfInput:
                terminal.show(f"(the answer still waits for {key}; Ctrl-C stops it)")

    async def _send(self, terminal: Terminal, key: str, value: Any) -> bool:
        """Send a value. Return False if another one can be tried."""
        try:
            await self._answer.respond(key, value)
        except HubClientError as error:
            terminal.show(f"(the value of {key} was refused: {error})")
            passes_by = isinstance(error, HubUnreachable | HubUnavailable | TooManyRequests)
            return not passes_by and error.code != "input_invalid"
        return True


async def _prompt(terminal: Terminal, part: Mapping[str, Any]) -> Any:
    """Ask a person for the value of an input, and return it. Raise EndOfInput."""
    terminal.discard_typed()
    terminal.show(f"\n? {part['prompt']}")
    if part.get("options") is not None:
        choices = choices_of(part["options"])
        return await _enter(terminal, Field(name=None, label="", kind="choice", choices=choices))
    fields = list_fields(part.get("schema"))
    values = {field.name: await _enter(terminal, field) for field in fields}
    if None in values:
        return values[None]
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


async def _enter(terminal: Terminal, field: Field) -> Any:
    for number, choice in enumerate(field.choices, start=1):
        terminal.show(f"  {number}  {choice.label}")
    while True:
        line = await terminal.read_line(f"{_entry_prompt(field)}: ")
        try:
            return parse_entry(field, line)
        except ValueError as error:
            terminal.show(f"  {error}")


def _entry_prompt(field: Field) -> str:
    """Return what stands before the entry, with what can be entered in brackets."""
    kinds = {
        "choice": f"1-{len(field.choices)}",
        "boolean": "y/n",
        "integer": "whole number",
        "number": "number",
        "json": "JSON",
    }
    has_default = field.default is not msgspec.UNSET
    default = f"default {msgspec.json.encode(field.default).decode()}" if has_default else ""
    optional = "" if field.is_required or has_default else "may be empty"
    more = ", ".join(each for each in (kinds.get(field.kind), optional, default) if each)
    text = f"{field.label} ({field.hint})" if field.hint else field.label
    return f"  {text} [{more}]" if text and more else f"  {text or more}"
