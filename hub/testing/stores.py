"""The small stores in memory, for one process: doubles for tests that pass the contract suites."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hub.core.channel import Channel
from hub.ports.tickets import ConsumedTicket, Ticket
from hub.ports.topic_presence import PresenceChange
from hub.ports.usage import UsageTotals


class MemoryUsageStore:
    """Implements ports.UsageLedger."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], UsageTotals] = {}

    async def add(self, usage: UsageTotals) -> None:
        key = (usage.day, usage.user, usage.model)
        before = self._sums.get(key, UsageTotals(day=usage.day, user=usage.user, model=usage.model))
        self._sums[key] = UsageTotals(
            day=usage.day,
            user=usage.user,
            model=usage.model,
            answers=before.answers + usage.answers,
            answers_without_usage=before.answers_without_usage + usage.answers_without_usage,
            prompt_tokens=before.prompt_tokens + usage.prompt_tokens,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
        )

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        return [
            self._sums[key]
            for key in sorted(self._sums)
            if key[0] == day and user in (None, key[1])
        ]


class MemoryCommandBus:
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

    def resubscribed(self) -> None:
        """What a link does that is back."""
        for relinked in self._told:
            relinked()

    async def broadcast(self, message: bytes) -> None:
        for heard in () if self.deaf else self._listeners:
            heard(message)

    async def block(self, subject: str, until: float) -> None:
        self._denied[subject] = max(until, self._denied.get(subject, 0.0))

    async def blocked(self) -> Mapping[str, float]:
        return dict(self._denied)

    async def put_node_state(self, node: str, state: bytes) -> None:
        self._beats[node] = state

    async def node_states(self) -> Sequence[bytes]:
        return list(self._beats.values())


class MemoryTicketStore:
    """Implements ports.TicketBook."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._kept: dict[str, tuple[Ticket, float, bool]] = {}

    async def put(self, ticket_id: str, ticket: Ticket, seconds: float) -> None:
        self._kept[ticket_id] = (ticket, self._now() + seconds, False)

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        ticket, until, before = self._kept.get(ticket_id, (None, 0.0, False))
        if ticket is None or until <= self._now():
            return None
        self._kept[ticket_id] = (ticket, ticket.expires_at, True)
        return ConsumedTicket(ticket, before)


class MemoryPresenceStore:
    """Implements ports.AttendanceBook."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._until: dict[Channel, dict[tuple[str, str], float]] = {}

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        until = self._until.setdefault(channel, {})
        before = {user for user, _ in until}
        for user in present:
            until[user, node] = self._now() + seconds
        for user in absent:
            until.pop((user, node), None)
        for entry, at in tuple(until.items()):
            if at <= self._now():
                del until[entry]
        after = {user for user, _ in until}
        return PresenceChange(sorted(after - before), sorted(before - after), len(after))
