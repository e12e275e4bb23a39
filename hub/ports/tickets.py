"""One-time tickets that open a connection."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Whose connection a ticket is for, until when (Unix seconds), and by which token."""

    user: str
    topics: tuple[str, ...]
    expires_at: float
    token_id: str | None


class ConsumedTicket(NamedTuple):
    """A ticket, and whether it was used before."""

    ticket: Ticket
    used_before: bool


class TicketStore(Protocol):
    """Tickets that were issued. Raises BrokerUnavailable."""

    async def put(self, ticket_id: str, ticket: Ticket, seconds: float) -> None:
        """For so long; from its first use on until the token expires."""
        ...

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        """Uses it; None when there is none."""
        ...
