"""Time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in seconds, so that tests can control the time."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
