"""Tickets in Redis: a hash each, under the hash of its name, which is a secret."""

from __future__ import annotations

from typing import Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.keys import ticket_key
from hub.ports.tickets import ConsumedTicket, Ticket

_USE: Final = Script("hub.backends.redis", "consume_ticket")
_KEEP: Final = Script("hub.backends.redis", "put_ticket")


class RedisTicketStore:
    """Implements ports.TicketBook."""

    def __init__(self, link: RedisClient) -> None:
        self._link = link

    async def put(self, ticket_id: str, ticket: Ticket, seconds: float) -> None:
        partition, key = ticket_key(ticket_id)
        until_ms = int(ticket.expires_at * 1000)
        args = (msgspec.json.encode(ticket), until_ms, int(seconds * 1000))
        await self._link.run([ScriptCall(_KEEP, partition, (key,), args)])

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        partition, key = ticket_key(ticket_id)
        (reply,) = await self._link.run([ScriptCall(_USE, partition, (key,), ())])
        if not reply:
            return None
        return ConsumedTicket(msgspec.json.decode(reply[0], type=Ticket), bool(reply[1]))
