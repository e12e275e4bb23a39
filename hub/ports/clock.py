"""Time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can hold it. Seconds that never go back."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
