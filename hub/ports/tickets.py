"""One-time tickets that open a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The right to open a connection.

    user, topics: what the connection may follow. expires_at: when the token behind the ticket
    expires, in Unix seconds. token_id: the `jti` of that token. scopes: what that token allows,
    None for everything. ask_topics: the topics in which the user may ask.
    """

    user: str
    topics: tuple[str, ...]
    expires_at: float
    token_id: str | None
    scopes: tuple[str, ...] | None = None
    ask_topics: tuple[str, ...] = ()


class ConsumedTicket(NamedTuple):
    """A ticket, and whether it had been used before.

    token_seconds: in how many seconds the token behind it expires, by the backend's clock.
    """

    ticket: Ticket
    used_before: bool
    token_seconds: float


class TicketStore(Protocol):
    """The issued tickets. Every method is atomic and raises BrokerUnavailable."""

    async def put(
        self, ticket_id: str, ticket: Ticket, seconds: float, token_seconds: float
    ) -> None:
        """Store a ticket for `seconds`; from its first use on it lives until its token expires.

        token_seconds: in how many seconds from now that is.
        """
        ...

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        """Use a ticket. Return None when there is no such ticket."""
        ...

    async def list_of_user(self, user: str) -> Sequence[Ticket]:
        """Return the tickets of a user that can be used. Their secret ids are not known."""
        ...

    async def erase(self, user: str) -> None:
        """Erase the tickets of a user, so that they open no connection any more."""
        ...
