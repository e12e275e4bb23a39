"""Tickets in Redis: one hash each. The key has the hash of the ticket id, which is a secret."""

from __future__ import annotations

from typing import Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.keys import ticket_key
from hub.ports.tickets import ConsumedTicket, Ticket

_CONSUME: Final = Script("hub.backends.redis", "consume_ticket", needs_memory=False)
_PUT: Final = Script("hub.backends.redis", "put_ticket")


class RedisTicketStore:
    """Implements ports.tickets.TicketStore."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def put(
        self, ticket_id: str, ticket: Ticket, seconds: float, token_seconds: float
    ) -> None:
        partition, key = ticket_key(ticket_id)
        arguments = (msgspec.json.encode(ticket), int(token_seconds * 1000), int(seconds * 1000))
        await self._client.run([ScriptCall(_PUT, partition, (key,), arguments)])

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        partition, key = ticket_key(ticket_id)
        (reply,) = await self._client.run([ScriptCall(_CONSUME, partition, (key,), ())])
        if not reply:
            return None
        ticket = msgspec.json.decode(reply[0], type=Ticket)
        return ConsumedTicket(ticket, bool(reply[1]), reply[2] / 1000)
