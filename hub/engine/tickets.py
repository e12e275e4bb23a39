"""Tickets: a stand-in for a token where a URL must not carry one.

A ticket opens one connection within half a minute. From then on it is good for that connection
alone: whoever uses it again must show a cursor that only this user's stream has told
(`Last-Event-ID`, which a browser sends by itself when it reconnects to the same URL), until the
token behind it expires. Who finds the URL in a log has no such cursor.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from hub.core.channel import user_channel
from hub.core.cursor import parse_cursor
from hub.errors import BadRequest, Unauthorized
from hub.ports.events import EventReader
from hub.ports.tickets import Ticket, TicketStore

OPENING_SECONDS: Final = 30.0
_LIFE_SECONDS: Final = 3600.0  # where the token behind it has no end
_REFUSED: Final = "the ticket is not valid, has expired, or is another connection's"


class Tickets:
    """Issues them and takes them."""

    def __init__(
        self, store: TicketStore, events: EventReader, *, wall: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._events = events
        self._wall = wall

    async def issue(
        self, user: str, topics: tuple[str, ...], expires_at: float | None, token_id: str | None
    ) -> str:
        """A fresh one. Raises BrokerUnavailable."""
        until = self._wall() + _LIFE_SECONDS if expires_at is None else expires_at
        name = secrets.token_urlsafe(24)
        ticket = Ticket(user=user, topics=topics, expires_at=until, token_id=token_id)
        await self._store.put(name, ticket, OPENING_SECONDS)
        return name

    async def redeem(self, ticket_id: str, last_event_id: str | None) -> Ticket:
        """Whose it is. Raises Unauthorized."""
        used = await self._store.consume(ticket_id)
        if used is None or used.ticket.expires_at <= self._wall():
            raise Unauthorized(_REFUSED)
        if used.used_before and not await self._is_known(used.ticket.user, last_event_id):
            raise Unauthorized(_REFUSED)
        return used.ticket

    async def _is_known(self, user: str, last_event_id: str | None) -> bool:
        """Whether the cursor stands in the history of the user's channel."""
        channel = user_channel(user)
        try:
            position = parse_cursor(last_event_id or "", [channel]).get(channel)
        except BadRequest:
            return False
        if position is None:
            return False
        pages = await self._events.read({channel: position}, max_events=1, max_bytes=1)
        return pages[channel].reset_reason != "epoch"
