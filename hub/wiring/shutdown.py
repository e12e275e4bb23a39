"""The wish that a process ends, and that it hurries: the first signal, and the second."""

from __future__ import annotations

import asyncio


class Shutdown:
    """asked: it should end, in good order. hurried: in good order no longer matters."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()

    def signal(self) -> None:
        """Another signal came."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def wait(self, seconds: float) -> None:
        """Returns after so long, or when it is in a hurry."""
        try:
            async with asyncio.timeout(seconds):
                await self.forced.wait()
        except TimeoutError:
            pass
