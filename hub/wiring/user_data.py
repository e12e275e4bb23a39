"""The kinds of data about users, which an erasure and an export go through."""

from __future__ import annotations

from hub.core.deliveries import DELIVERY_QUEUES
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.engine.generations.generations import Generations
from hub.engine.user_data import AnswerStopper, UserDataRegistry
from hub.engine.user_data_kinds import (
    UserBlock,
    UserBudget,
    UserDeliveries,
    UserEvents,
    UserGenerations,
    UserInbox,
    UserInboxSettings,
    UserPushSubscriptions,
    UserTickets,
    UserUsage,
)
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.ports.user_data import UserData
from hub.settings import Settings


def build_user_data(
    settings: Settings,
    backend: Backend,
    generations: Generations,
    jobs: GenerationJobs,
    clock: Clock,
) -> UserDataRegistry:
    """Build the registry of all kinds. A new kind of data about users gets its line here."""
    kinds: list[UserData] = [
        UserBlock(backend.commands),
        UserTickets(backend.tickets),
        UserPushSubscriptions(backend.push_subscriptions),
        UserGenerations(backend.generations),
        UserUsage(backend.usage, seconds=settings.generations.usage_seconds),
        UserBudget(backend.budgets),
        UserInbox(backend.inboxes),
        UserInboxSettings(backend.inboxes),
        UserEvents(backend.events),
        UserDeliveries(backend.deliveries, DELIVERY_QUEUES),
    ]
    answers = AnswerStopper(generations, backend.generations, jobs, backend.queue, clock)
    return UserDataRegistry(kinds, answers)
