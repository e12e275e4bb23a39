"""Run the programs of the examples, and read what they print."""

from __future__ import annotations

import asyncio
import codecs
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from tests.languages.toolchains import ROOT, Command

_TIMEOUT_SECONDS: Final = 90.0  # between two pieces of output
_MAX_LINE_BYTES: Final = 2**22


class Event(NamedTuple):
    """An event as a program prints it: its name, a tab, and its data."""

    name: str
    data: str


class Program:
    """A running program. output: what it has printed. errors: its standard error, after its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.output = ""
        self.errors = ""
        self.ended = False

    @property
    def events(self) -> list[Event]:
        """Return the events that it has printed."""
        lines = self.output.split("\n")[:-1]
        return [Event(*line.partition("\t")[::2]) for line in lines]

    def named(self, name: str) -> list[str]:
        """Return the data of the events with a name."""
        return [event.data for event in self.events if event.name == name]

    async def until(self, condition: Callable[[Program], object]) -> None:
        """Read the output until the condition holds; it must hold at the end of the program."""
        assert self._process.stdout is not None
        while not condition(self):
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                chunk = await self._process.stdout.read(_MAX_LINE_BYTES)
            if not chunk:
                await self._read_errors()
                assert condition(self), f"the program ended early: {self!r}"
                return
            self.output += self._decoder.decode(chunk)

    async def wait(self) -> int:
        """Read the output until the program ends, and return its exit code."""
        await self.until(lambda program: program.ended)
        return await self._process.wait()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self.errors += (await self._process.stderr.read()).decode()
        self.ended = True

    def __repr__(self) -> str:
        return f"... {self.output[-500:]!r}, errors {self.errors[-2000:]!r}"


@asynccontextmanager
async def run_program(command: Command, *arguments: str) -> AsyncIterator[Program]:
    """Run a program during the block."""
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=ROOT, limit=_MAX_LINE_BYTES,
    )  # fmt: skip
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
