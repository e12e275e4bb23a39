"""Tickets: they replace a token in a URL, which must not contain one.

A ticket opens one connection within half a minute. After that it is valid for this connection only,
until the token behind it expires: a second use needs a cursor that only this user's stream has sent
(`Last-Event-ID`, which a browser sends when it reconnects to the same URL). Somebody who finds the
URL in a log has no such cursor.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from hub.core.channel import user_channel
from hub.core.cursor import parse_cursor
from hub.engine.storage_budget import StorageBudget
from hub.error_codes import TICKET_INVALID
from hub.errors import BadRequest, Unauthorized
from hub.ports.events import EventReader
from hub.ports.tickets import Ticket, TicketStore

OPENING_SECONDS: Final = 30.0
_MAX_AGE_SECONDS: Final = 3600.0  # if the token behind it does not expire
_REFUSED: Final = "the ticket is not valid, has expired, or belongs to another connection"


class Tickets:
    """Issues and redeems tickets.

    budget: what users may store; None means no limit. wall: returns the time in Unix seconds.
    """

    def __init__(
        self,
        store: TicketStore,
        events: EventReader,
        *,
        budget: StorageBudget | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._budget = budget
        self._events = events
        self._wall = wall

    async def issue(
        self,
        user: str,
        topics: tuple[str, ...],
        expires_at: float | None,
        token_id: str | None,
        *,
        scopes: tuple[str, ...] | None = None,
        ask_topics: tuple[str, ...] = (),
    ) -> str:
        """Return a new ticket.

        topics: those that its connection may follow. expires_at: the end of the token behind it, in
        Unix seconds. token_id: that token's `jti`. scopes, ask_topics: as in Ticket.
        Raise TooManyRequests, BrokerUnavailable.
        """
        if self._budget is not None:
            size_bytes = sum(len(topic) for topic in (*topics, *ask_topics))
            await self._budget.charge(user, size_bytes)
        now = self._wall()
        until = now + _MAX_AGE_SECONDS if expires_at is None else expires_at
        ticket_id = secrets.token_urlsafe(24)
        ticket = Ticket(
            user=user,
            topics=topics,
            expires_at=until,
            token_id=token_id,
            scopes=scopes,
            ask_topics=ask_topics,
        )
        await self._store.put(ticket_id, ticket, OPENING_SECONDS, until - now)
        return ticket_id

    async def redeem(self, ticket_id: str, last_event_id: str | None) -> Ticket:
        """Use a ticket and return it.

        last_event_id: the cursor that the client sent. Raise Unauthorized, BrokerUnavailable.
        """
        consumed = await self._store.consume(ticket_id)
        if consumed is None or consumed.token_seconds <= 0:
            raise Unauthorized(_REFUSED, code=TICKET_INVALID)
        if consumed.used_before and not await self._is_known(consumed.ticket.user, last_event_id):
            raise Unauthorized(_REFUSED, code=TICKET_INVALID)
        # The node that issued the ticket may have another time, but both agree on a duration.
        expires_at = self._wall() + consumed.token_seconds
        return msgspec.structs.replace(consumed.ticket, expires_at=expires_at)

    async def _is_known(self, user: str, last_event_id: str | None) -> bool:
        """Return whether the cursor is a position in the log of the user's channel."""
        channel = user_channel(user)
        try:
            position = parse_cursor(last_event_id or "", [channel]).get(channel)
        except BadRequest:
            return False
        if position is None:
            return False
        pages = await self._events.read({channel: position}, max_events=1, max_bytes=1)
        return pages[channel].reset_reason != "epoch"
