"""The backend: every port that stores or distributes something, as one bundle.

Wiring gets one Backend for each process and passes its parts to the engine. hub.backends.redis and
hub.testing implement it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from hub.ports.budgets import BudgetStore
from hub.ports.claims import JobClaims
from hub.ports.commands import CommandBus
from hub.ports.deliveries import DeliveryStore
from hub.ports.events import EventLog, Subscriptions
from hub.ports.generations import GenerationStore
from hub.ports.inbox import InboxStore
from hub.ports.push import PushSubscriptionStore
from hub.ports.queue import GenerationQueue
from hub.ports.tickets import TicketStore
from hub.ports.topic_presence import PresenceStore
from hub.ports.usage import UsageStore
from hub.ports.user_presence import UserPresenceStore
from hub.ports.webhooks import WebhookStore


class BrokerMemory(NamedTuple):
    """The memory of the fullest server of a backend. max_bytes: 0 means that it has no limit."""

    used_bytes: int
    max_bytes: int


class BackendHealth(Protocol):
    """Whether the backend can be used."""

    async def check_writable(self) -> None:
        """Return when the backend answers and accepts writes. Raise BrokerUnavailable."""
        ...

    async def check_ready(self) -> None:
        """Return when the backend accepts writes and every subscription of this process is
        acknowledged.

        Raise BrokerUnavailable.
        """
        ...

    async def memory(self) -> BrokerMemory | None:
        """Return how full the backend is; None if this process may not ask for it.

        Raise BrokerUnavailable.
        """
        ...


class BackendStatistics(Protocol):
    """Counters since the start of the process."""

    @property
    def calls(self) -> int:
        """Number of calls to the backend."""
        ...

    @property
    def refusals(self) -> Mapping[str, int]:
        """Number of refused calls by reason: `out_of_memory` and `refuses_writes`."""
        ...

    @property
    def disconnects(self) -> Mapping[str, int]:
        """Number of lost connections by purpose: `commands` and `events`."""
        ...


class Backend(Protocol):
    """The parts of one backend. All of them share its connections."""

    @property
    def events(self) -> EventLog: ...

    @property
    def subscriptions(self) -> Subscriptions: ...

    @property
    def generations(self) -> GenerationStore: ...

    @property
    def queue(self) -> GenerationQueue: ...

    @property
    def claims(self) -> JobClaims: ...

    @property
    def commands(self) -> CommandBus: ...

    @property
    def deliveries(self) -> DeliveryStore: ...

    @property
    def webhooks(self) -> WebhookStore: ...

    @property
    def tickets(self) -> TicketStore: ...

    @property
    def push_subscriptions(self) -> PushSubscriptionStore: ...

    @property
    def topic_presence(self) -> PresenceStore: ...

    @property
    def user_presence(self) -> UserPresenceStore: ...

    @property
    def budgets(self) -> BudgetStore: ...

    @property
    def usage(self) -> UsageStore: ...

    @property
    def inboxes(self) -> InboxStore: ...

    @property
    def health(self) -> BackendHealth: ...

    @property
    def statistics(self) -> BackendStatistics: ...
