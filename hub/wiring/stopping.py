"""The wish that a process ends, and that it hurries: the first signal, and the second."""

from __future__ import annotations

import asyncio


class Stopping:
    """asked: it should end, in good order. hurried: in good order no longer matters."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def signal(self) -> None:
        """Another signal came."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    async def wait(self, seconds: float) -> None:
        """Returns after so long, or when it is in a hurry."""
        try:
            async with asyncio.timeout(seconds):
                await self.hurried.wait()
        except TimeoutError:
            pass
