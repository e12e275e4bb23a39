"""POST /tickets, and the door that takes them."""

from __future__ import annotations

from aiohttp import web

from hub.core.channel import check_user_id
from hub.engine.tickets import OPENING_SECONDS, Tickets
from hub.errors import Forbidden
from hub.web.auth import Door, Identity
from hub.web.bodies import json_response
from hub.web.caller import Caller


class TicketDoor:
    """For streams: another door, and tickets in the URL."""

    def __init__(self, door: Door, tickets: Tickets) -> None:
        self._door = door
        self._tickets = tickets

    async def identify(self, request: Caller) -> Identity:
        name = request.query.get("ticket")
        if name is None:
            return await self._door.identify(request)
        ticket = await self._tickets.enter(name, request.headers.get("Last-Event-ID"))
        named = request.match_info.get("user_id")
        if named is not None and check_user_id(named, path="user") != ticket.user:
            raise Forbidden("the ticket is another user's")
        return Identity(ticket.user, ticket.topics, ticket.expires_at, ticket.token_id)


class TicketRoutes:
    """A route of the public listener."""

    def __init__(self, door: Door, tickets: Tickets) -> None:
        self._door = door
        self._tickets = tickets

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/tickets", self.issue)]

    async def issue(self, request: web.Request) -> web.Response:
        """201: a ticket for one connection of who asks."""
        who = await self._door.identify(request)
        name = await self._tickets.issue(who.user, who.topics, who.expires_at, who.token_id)
        return json_response({"ticket": name, "expires_in": OPENING_SECONDS}, status=201)
