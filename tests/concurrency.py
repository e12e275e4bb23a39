"""Many requests of one test at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

_AT_ONCE: Final = 64


async def gather_bounded(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Return the results in the order of the awaitables, of which 64 run at the same time.

    A request for a stream may wait one heartbeat interval for its status. Such requests wait
    together.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def run(awaitable: Awaitable[T]) -> T:
        async with slots:
            return await awaitable

    return await asyncio.gather(*map(run, awaitables))
