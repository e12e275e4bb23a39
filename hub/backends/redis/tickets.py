"""Tickets in Redis: one hash each, and one sorted set of those of a user.

The key of a ticket has the hash of its id, which is a secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.keys import ticket_key, ticket_key_of, user_tickets_key
from hub.ports.tickets import ConsumedTicket, Ticket

_PACKAGE: Final = "hub.backends.redis"
_CONSUME: Final = Script(_PACKAGE, "consume_ticket", needs_memory=False)
_PUT: Final = Script(_PACKAGE, "put_ticket")
_INDEX: Final = Script(_PACKAGE, "index_ticket", is_repeatable=True)
_INDEX_USED: Final = Script(  # whoever has a ticket connects also when the memory is full
    _PACKAGE, "index_ticket", needs_memory=False, is_repeatable=True
)


class RedisTicketStore:
    """Implements ports.tickets.TicketStore.

    The set of a user has a ticket for at least as long as the ticket exists, unless a node is
    killed while it stores the first use.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def put(
        self, ticket_id: str, ticket: Ticket, seconds: float, token_seconds: float
    ) -> None:
        partition, key = ticket_key(ticket_id)
        arguments = (msgspec.json.encode(ticket), int(token_seconds * 1000), int(seconds * 1000))
        # First the set: what a refused call would have stored is not stored elsewhere.
        await self._client.run([_index(_INDEX, ticket_id, ticket.user, seconds)])
        await self._client.run([ScriptCall(_PUT, partition, (key,), arguments)])

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        partition, key = ticket_key(ticket_id)
        (reply,) = await self._client.run([ScriptCall(_CONSUME, partition, (key,), ())])
        if not reply:
            return None
        ticket = msgspec.json.decode(reply[0], type=Ticket)
        consumed = ConsumedTicket(ticket, bool(reply[1]), reply[2] / 1000)
        if not consumed.used_before:
            call = _index(_INDEX_USED, ticket_id, ticket.user, consumed.token_seconds)
            await self._client.run([call])
        return consumed

    async def list_of_user(self, user: str) -> list[Ticket]:
        tickets = []
        for digest in await self._digests(user):
            data = await self._client.call_key(*_get(digest))
            if data:
                tickets.append(msgspec.json.decode(data, type=Ticket))
        return tickets

    async def erase(self, user: str) -> None:
        for digest in await self._digests(user):
            partition, key = ticket_key_of(digest)
            await self._client.call_key(partition, "DEL", key)
        partition, key = user_tickets_key(user)
        await self._client.call_key(partition, "DEL", key)

    async def _digests(self, user: str) -> Sequence[str]:
        """Return the SHA-256 of the ids of a user's tickets."""
        partition, key = user_tickets_key(user)
        return [
            digest.decode()
            for digest in await self._client.call_key(partition, "ZRANGE", key, 0, -1)
        ]


def _index(script: Script, ticket_id: str, user: str, seconds: float) -> ScriptCall:
    """Return the call that adds a ticket to those of its user, or extends its life there."""
    partition, key = user_tickets_key(user)
    digest = hashlib.sha256(ticket_id.encode()).hexdigest()
    return ScriptCall(script, partition, (key,), (digest, max(1, int(seconds * 1000))))


def _get(digest: str) -> tuple[int, str, str, str]:
    """Return the arguments of the call that reads the data of a ticket."""
    partition, key = ticket_key_of(digest)
    return partition, "HGET", key, "d"
