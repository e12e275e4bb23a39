"""The small stores in memory, for one process: doubles for tests that pass the contract suites."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hub.core.channel import Channel
from hub.ports import Attended, Ticket, UsageSum, Used


class MemoryUsageLedger:
    """Implements ports.UsageLedger."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], UsageSum] = {}

    async def add(self, usage: UsageSum) -> None:
        key = (usage.day, usage.user, usage.model)
        before = self._sums.get(key, UsageSum(day=usage.day, user=usage.user, model=usage.model))
        self._sums[key] = UsageSum(
            day=usage.day,
            user=usage.user,
            model=usage.model,
            answers=before.answers + usage.answers,
            uncounted=before.uncounted + usage.uncounted,
            prompt_tokens=before.prompt_tokens + usage.prompt_tokens,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
        )

    async def read(self, day: str, user: str | None) -> list[UsageSum]:
        return [
            self._sums[key]
            for key in sorted(self._sums)
            if key[0] == day and user in (None, key[1])
        ]


class MemoryControlBus:
    """Implements ports.ControlBus for the nodes of one process. `deaf`: announcements are lost."""

    def __init__(self) -> None:
        self.deaf = False
        self._listeners: list[Callable[[bytes], None]] = []
        self._denied: dict[str, float] = {}
        self._beats: dict[str, bytes] = {}
        self._told: list[Callable[[], None]] = []

    def listen(self, heard: Callable[[bytes], None], relinked: Callable[[], None]) -> None:
        self._listeners.append(heard)
        self._told.append(relinked)

    def relinked(self) -> None:
        """What a link does that is back."""
        for relinked in self._told:
            relinked()

    async def announce(self, order: bytes) -> None:
        for heard in () if self.deaf else self._listeners:
            heard(order)

    async def deny(self, subject: str, until: float) -> None:
        self._denied[subject] = max(until, self._denied.get(subject, 0.0))

    async def denied(self) -> Mapping[str, float]:
        return dict(self._denied)

    async def beat(self, node: str, said: bytes) -> None:
        self._beats[node] = said

    async def beats(self) -> Sequence[bytes]:
        return list(self._beats.values())


class MemoryTicketBook:
    """Implements ports.TicketBook."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: dict[str, tuple[Ticket, float, bool]] = {}

    async def keep(self, name: str, ticket: Ticket, seconds: float) -> None:
        self._kept[name] = (ticket, self._now() + seconds, False)

    async def use(self, name: str) -> Used | None:
        ticket, until, before = self._kept.get(name, (None, 0.0, False))
        if ticket is None or until <= self._now():
            return None
        self._kept[name] = (ticket, ticket.expires_at, True)
        return Used(ticket, before)


class MemoryAttendanceBook:
    """Implements ports.AttendanceBook."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._until: dict[Channel, dict[tuple[str, str], float]] = {}

    async def note(
        self,
        channel: Channel,
        node: str,
        here: Sequence[str],
        gone: Sequence[str],
        *,
        seconds: float,
    ) -> Attended:
        until = self._until.setdefault(channel, {})
        before = {user for user, _ in until}
        for user in here:
            until[user, node] = self._now() + seconds
        for user in gone:
            until.pop((user, node), None)
        for entry, at in tuple(until.items()):
            if at <= self._now():
                del until[entry]
        after = {user for user, _ in until}
        return Attended(sorted(after - before), sorted(before - after), len(after))
