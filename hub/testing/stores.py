"""The command bus and the small stores in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from hub.core.channel import Channel
from hub.core.usage import MAX_MODELS_PER_DAY, MAX_TOKENS, OTHER_MODELS
from hub.ports.tickets import ConsumedTicket, Ticket
from hub.ports.topic_presence import PresenceChange
from hub.ports.usage import UsageTotals


class MemoryUsageStore:
    """Implements ports.usage.UsageStore."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], UsageTotals] = {}

    async def add(self, usage: UsageTotals) -> None:
        key = (usage.day, usage.user, usage.model)
        models = {model for day, user, model in self._sums if (day, user) == key[:2]}
        if usage.model not in models and len(models - {OTHER_MODELS}) >= MAX_MODELS_PER_DAY:
            key = (usage.day, usage.user, OTHER_MODELS)
        before = self._sums.get(key, UsageTotals(day=usage.day, user=usage.user, model=key[2]))
        self._sums[key] = UsageTotals(
            day=usage.day,
            user=usage.user,
            model=key[2],
            answers=before.answers + usage.answers,
            answers_without_usage=before.answers_without_usage + usage.answers_without_usage,
            prompt_tokens=min(before.prompt_tokens + usage.prompt_tokens, MAX_TOKENS),
            completion_tokens=min(before.completion_tokens + usage.completion_tokens, MAX_TOKENS),
        )

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        return [
            self._sums[key]
            for key in sorted(self._sums)
            if key[0] == day and user in (None, key[1])
        ]

    async def erase(self, day: str, user: str) -> None:
        self._sums = {key: each for key, each in self._sums.items() if key[:2] != (day, user)}


class MemoryCommandBus:
    """Implements ports.commands.CommandBus for the nodes of one process.

    now: returns the time in seconds. While `is_lossy` is true, commands get lost.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.is_lossy = False
        self._on_message: list[Callable[[bytes], None]] = []
        self._on_resubscribed: list[Callable[[], None]] = []
        self._blocked: dict[str, float] = {}
        self._node_states: dict[str, tuple[bytes, float]] = {}

    def listen(
        self, on_message: Callable[[bytes], None], on_resubscribed: Callable[[], None]
    ) -> None:
        self._on_message.append(on_message)
        self._on_resubscribed.append(on_resubscribed)

    def resubscribe(self) -> None:
        """Behave like a bus that receives again after a lost connection."""
        for on_resubscribed in self._on_resubscribed:
            on_resubscribed()

    def lose_data(self) -> None:
        """Behave like a broker whose data was deleted."""
        self._blocked.clear()
        self._node_states.clear()

    async def broadcast(self, message: bytes) -> None:
        for on_message in () if self.is_lossy else self._on_message:
            on_message(message)

    async def block(self, subject: str, seconds: float) -> None:
        until = self._now() + seconds
        self._blocked[subject] = max(until, self._blocked.get(subject, 0.0))

    async def blocked(self) -> Mapping[str, float]:
        return {subject: until - self._now() for subject, until in self._blocked.items()}

    async def put_node_state(self, node: str, state: bytes) -> None:
        self._node_states[node] = state, self._now()

    async def node_states(self) -> Sequence[tuple[bytes, float]]:
        return [(state, self._now() - at) for state, at in self._node_states.values()]

    async def remove_node_state(self, node: str) -> None:
        self._node_states.pop(node, None)

    async def run(self) -> None:
        await asyncio.Event().wait()


class MemoryTicketStore:
    """Implements ports.tickets.TicketStore."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        # By id: the ticket, when it expires, when its token expires, and whether it was used.
        self._tickets: dict[str, tuple[Ticket, float, float, bool]] = {}

    async def put(
        self, ticket_id: str, ticket: Ticket, seconds: float, token_seconds: float
    ) -> None:
        now = self._now()
        self._tickets[ticket_id] = (ticket, now + seconds, now + token_seconds, False)

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        now = self._now()
        if ticket_id not in self._tickets or self._tickets[ticket_id][1] <= now:
            return None
        ticket, _, token_expires_at, used_before = self._tickets[ticket_id]
        self._tickets[ticket_id] = (ticket, token_expires_at, token_expires_at, True)
        return ConsumedTicket(ticket, used_before, token_expires_at - now)

    async def list_of_user(self, user: str) -> list[Ticket]:
        now = self._now()
        known = self._tickets.values()
        return [ticket for ticket, until, *_ in known if ticket.user == user and until > now]

    async def erase(self, user: str) -> None:
        self._tickets = {
            each: stored for each, stored in self._tickets.items() if stored[0].user != user
        }


class MemoryPresenceStore:
    """Implements ports.topic_presence.PresenceStore."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._expiry: dict[Channel, dict[tuple[str, str], float]] = {}

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        expiry = self._expiry.setdefault(channel, {})
        before = {user for user, _ in expiry}
        for user in present:
            expiry[user, node] = self._now() + seconds
        for user in absent:
            expiry.pop((user, node), None)
        for entry, at in tuple(expiry.items()):
            if at <= self._now():
                del expiry[entry]
        after = {user for user, _ in expiry}
        return PresenceChange(sorted(after - before), sorted(before - after), len(after))


class MemoryBudgetStore:
    """Implements ports.budgets.BudgetStore. seconds: how long bytes are stored."""

    def __init__(self, now: Callable[[], float], *, seconds: float = 3600.0) -> None:
        self._now = now
        self._seconds = seconds
        self._charges: dict[str, list[tuple[float, int]]] = {}  # the times and bytes of each user

    async def charge(self, user: str, size_bytes: int, max_bytes: int) -> float:
        now = self._now()
        charges = [c for c in self._charges.get(user, ()) if c[0] + self._seconds > now]
        self._charges[user] = charges
        total = sum(each for _, each in charges) + size_bytes
        if size_bytes <= 0 or total <= max_bytes:
            charges.append((now, size_bytes))
            return 0.0
        for charged_at, each in charges:
            total -= each
            if total <= max_bytes:
                return charged_at + self._seconds - now
        return self._seconds

    async def read(self, user: str) -> int:
        now = self._now()
        charges = self._charges.get(user, ())
        return sum(each for at, each in charges if at + self._seconds > now)

    async def erase(self, user: str) -> None:
        self._charges.pop(user, None)
