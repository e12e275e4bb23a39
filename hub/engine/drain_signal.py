"""The drain of a node, which ends the waits of long requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DrainSignal:
    """Ends waits when the node drains."""

    def __init__(self) -> None:
        self.is_set = False
        self._timeouts: set[asyncio.Timeout] = set()

    def set(self) -> None:
        """End the waits at once, and all later ones."""
        self.is_set = True
        for timeout in self._timeouts:
            timeout.reschedule(0)

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError in the block after `seconds`, or when the node drains."""
        async with asyncio.timeout(0 if self.is_set else seconds) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.discard(timeout)
