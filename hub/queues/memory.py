"""The workers' queue in memory, for one process: a double that passes the same contract suite."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator

from hub.ports import Lease


class MemoryGenerationQueue:
    """Implements ports.GenerationQueue. `abandon` ends a lease as time would."""

    def __init__(self) -> None:
        self._tokens = itertools.count(1)
        self._waiting: deque[Lease] = deque()
        self._held: dict[str, Lease] = {}
        self._came = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()

    async def put(self, generation: str) -> None:
        self._waiting.append(Lease(generation, str(next(self._tokens))))
        self._came.set()

    async def take(self, wait_seconds: float) -> Lease | None:
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._waiting:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            return None
        lease = self._waiting.popleft()
        self._held[lease.token] = lease
        return lease

    async def renew(self, lease: Lease) -> None:
        self._held[lease.token] = lease

    async def settle(self, lease: Lease) -> None:
        self._held.pop(lease.token, None)

    async def release(self, lease: Lease) -> None:
        self._held.pop(lease.token, None)
        await self.put(lease.generation)

    async def announce_stop(self, generation: str) -> None:
        for listener in self._listeners:
            listener.put_nowait(generation)

    async def stops(self) -> AsyncIterator[str]:
        notices: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(notices)
        try:
            while True:
                yield await notices.get()
        finally:
            self._listeners.discard(notices)

    def abandon(self) -> None:
        """Every lease runs out: what was held can be taken again."""
        self._waiting.extend(self._held.values())
        self._held.clear()
        self._came.set()
