"""The kinds of data about users that the stores of a backend keep.

Each is a `UserData` (ports/user_data.py). wiring/user_data.py lists them, and
docs/contributing/redis.md says what becomes of every key.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from hub.core.channel import user_channel
from hub.core.cursor import format_cursor
from hub.core.denylist import USER
from hub.core.generation import Generation
from hub.core.inbox import ItemId, parse_item_id
from hub.core.inputs import StoredInput
from hub.core.part_events import to_events
from hub.ports.budgets import BudgetStore
from hub.ports.commands import CommandBus
from hub.ports.deliveries import DeliveryStore
from hub.ports.events import FROM_START, EventLog
from hub.ports.generations import GenerationStore
from hub.ports.inbox import InboxStore, ItemFilter
from hub.ports.push import PushSubscriptionStore
from hub.ports.tickets import TicketStore
from hub.ports.usage import UsageStore

_PAGE_EVENTS: Final = 100
_PAGE_BYTES: Final = 64 * 1024
_PAGE_ITEMS: Final = 50
_DAY_SECONDS: Final = 86400


class UserEvents:
    """The events of the user's own channel, the oldest first."""

    name: Final = "events"

    def __init__(self, events: EventLog) -> None:
        self._events = events

    async def erase(self, user: str) -> None:
        await self._events.erase(user_channel(user))

    async def export(self, user: str) -> AsyncIterator[bytes]:
        channel, after = user_channel(user), FROM_START
        while True:
            pages = await self._events.read(
                {channel: after}, max_events=_PAGE_EVENTS, max_bytes=_PAGE_BYTES
            )
            page = pages[channel]
            for event in page.events:
                if event.position is not None:
                    cursor = format_cursor({channel: event.position})
                    data = msgspec.Raw(event.data)
                    yield _encode({"cursor": cursor, "event": event.name, "data": data})
            if page.end == page.head or page.reset_reason is not None:
                return
            after = page.end


class UserGenerations:
    """The answers that the user has asked for, also in topics."""

    name: Final = "generations"

    def __init__(self, store: GenerationStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        await self._store.erase(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        for generation in await self._store.list_kept(user):
            record = await self._store.find(generation)
            if record is not None:
                yield _encode(_describe(record))


class UserUsage:
    """The token usage of the user by day and model. seconds: how long it is kept."""

    name: Final = "usage"

    def __init__(
        self, store: UsageStore, *, seconds: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._days = math.ceil(seconds / _DAY_SECONDS) + 1
        self._wall = wall

    async def erase(self, user: str) -> None:
        for day in self._kept_days():
            await self._store.erase(day, user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        for day in self._kept_days():
            for totals in await self._store.read(day, user):
                yield _encode(totals)

    def _kept_days(self) -> list[str]:
        """Return the days of which there may be usage: YYYY-MM-DD (UTC)."""
        tomorrow = self._wall() + _DAY_SECONDS  # the clock of a worker may be ahead
        times = [tomorrow - n * _DAY_SECONDS for n in range(self._days + 2)]
        return [time.strftime("%Y-%m-%d", time.gmtime(each)) for each in reversed(times)]


class UserTickets:
    """The tickets that open connections of the user."""

    name: Final = "tickets"

    def __init__(self, store: TicketStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        await self._store.erase(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        for ticket in await self._store.list_of_user(user):
            yield _encode(ticket)


class UserBudget:
    """How many bytes of prompts and tickets the user has stored lately."""

    name: Final = "stored_bytes"

    def __init__(self, store: BudgetStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        await self._store.erase(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        if stored := await self._store.read(user):
            yield _encode(stored)


class UserInbox:
    """The items of the user's inbox, the newest first."""

    name: Final = "inbox"

    def __init__(self, store: InboxStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        await self._store.erase(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        before: ItemId | None = None
        while True:
            page = await self._store.read(user, ItemFilter(limit=_PAGE_ITEMS, before=before))
            for item in page.items:
                yield _encode(item)
            if len(page.items) < _PAGE_ITEMS:
                return
            before = parse_item_id(page.items[-1].id, path="id")


class UserInboxSettings:
    """The topics and muted categories of the user's inbox, and what the user did with shared items.

    UserInbox erases them.
    """

    name: Final = "inbox_settings"

    def __init__(self, store: InboxStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        """Do nothing: the store erases them with the items."""

    async def export(self, user: str) -> AsyncIterator[bytes]:
        settings = await self._store.settings(user)
        if settings.topics or settings.shared or settings.muted.inbox or settings.muted.push:
            yield _encode(settings)


class UserPushSubscriptions:
    """The browsers and devices that receive pushes for the user."""

    name: Final = "push_subscriptions"

    def __init__(self, store: PushSubscriptionStore) -> None:
        self._store = store

    async def erase(self, user: str) -> None:
        await self._store.remove_all(user)

    async def export(self, user: str) -> AsyncIterator[bytes]:
        for subscription in await self._store.list(user):
            yield _encode(subscription)


class UserDeliveries:
    """The deliveries of the user's channel that wait, are being sent, or are dead letters.

    queues: all of them.
    """

    name: Final = "deliveries"

    def __init__(self, store: DeliveryStore, queues: Sequence[str]) -> None:
        self._store = store
        self._queues = queues

    async def erase(self, user: str) -> None:
        for queue in self._queues:
            await self._store.erase(queue, user_channel(user))

    async def export(self, user: str) -> AsyncIterator[bytes]:
        for queue in self._queues:
            for delivery in await self._store.list_ids(queue, user_channel(user)):
                stored = await self._store.find(queue, delivery)
                if stored is not None:
                    yield _encode(
                        {
                            "queue": queue,
                            "id": stored.id,
                            "state": stored.state,
                            "added_at": stored.added_at,
                            "errors": stored.errors,
                            "body": msgspec.Raw(stored.body),
                        }
                    )


class UserBlock:
    """The block of the user. An erasure keeps it: an erased user stays blocked."""

    name: Final = "blocks"

    def __init__(self, commands: CommandBus) -> None:
        self._commands = commands

    async def erase(self, user: str) -> None:
        """Keep the block until it ends; see docs/contributing/redis.md."""

    async def export(self, user: str) -> AsyncIterator[bytes]:
        seconds = (await self._commands.blocked()).get(USER + user)
        if seconds is not None:
            yield _encode({"seconds_left": round(seconds, 3)})


def _describe(record: Generation) -> dict[str, Any]:
    """Return a record for the export, without what belongs to workers."""
    request = msgspec.to_builtins(msgspec.structs.replace(record.request, trace=""))
    return {
        "id": record.id,
        "status": record.status.value,
        "requested_at": record.requested_at,
        "request": request,
        "parts": [{"event": name, "data": fields} for name, fields in to_events(record.parts)],
        "inputs": [_describe_input(each) for each in record.inputs.values()],
        "messages": msgspec.to_builtins(list(record.steering)),
        "end": record.end,
    }


def _describe_input(stored: StoredInput) -> dict[str, Any]:
    """Return an input and its answer, null while it waits."""
    answer = None if stored.answer is None else stored.answer.fields
    return {"request": stored.request, "answer": answer}


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)
