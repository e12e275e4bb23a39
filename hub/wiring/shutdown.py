"""The end of a process: the first signal requests it, the second forces it."""

from __future__ import annotations

import asyncio


class Shutdown:
    """requested: drain and end. forced: end at once."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()

    def signal(self) -> None:
        """Handle a signal."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as the end is forced."""
        try:
            async with asyncio.timeout(seconds):
                await self.forced.wait()
        except TimeoutError:
            pass
