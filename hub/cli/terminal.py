"""Reads lines from the terminal of a command without blocking its event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Final

_MAX_LINE_BYTES: Final = 64 * 1024


class EndOfInput(Exception):
    """Nothing more can be read: Ctrl-D, or the terminal is gone."""


class Terminal:
    """Shows on standard error, and reads from standard input."""

    @staticmethod
    def is_available() -> bool:
        """Return whether a person can see a prompt and type a line.

        Windows is left out: its event loop cannot wait for a line.
        """
        with suppress(ValueError, AttributeError):  # closed, or replaced by something else
            return sys.platform != "win32" and sys.stdin.isatty() and sys.stderr.isatty()
        return False

    def show(self, text: str, *, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)

    def discard_typed(self) -> None:
        """Discard the lines that were typed so far: they answer nothing that comes next."""
        import termios

        with suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    async def read_line(self, prompt: str) -> str:
        """Show the prompt, and return the next line that is typed. Raise EndOfInput.

        Cancellation moves to the next line.
        """
        loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
        readable = asyncio.Event()
        self.show(prompt, end="")
        loop.add_reader(number, readable.set)
        try:
            await readable.wait()
        except asyncio.CancelledError:
            self.show("")
            raise
        finally:
            loop.remove_reader(number)
        try:
            line = os.read(number, _MAX_LINE_BYTES)  # the terminal hands over one whole line
        except OSError:
            line = b""
        if not line:
            self.show("")
            raise EndOfInput
        return line.decode(errors="replace").rstrip("\r\n")
