"""POST /tickets, and the door that takes them."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.core.channel import check_user_id
from hub.engine.tickets import OPENING_SECONDS, Tickets
from hub.errors import Forbidden
from hub.web.auth import Door, Identity
from hub.web.bodies import json_response
from hub.web.caller import Caller
from hub.web.operation import USER, Operation, json, routes_of
from hub.web.parameters import OPEN_USER


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


class TicketAnswer(msgspec.Struct, frozen=True):
    """expires_in: seconds to open the connection."""

    ticket: str
    expires_in: float


class TicketRoutes:
    """A route of the public listener."""

    def __init__(self, door: Door, tickets: Tickets) -> None:
        self._door = door
        self._tickets = tickets

    def routes(self) -> list[web.RouteDef]:
        return routes_of(self)

    @Operation(
        method="POST",
        paths=["/tickets"],
        tag="streams",
        summary="Get a ticket for a URL that must not carry a token",
        security=USER,
        parameters=[OPEN_USER],
        answers=[json(201, TicketAnswer, "The ticket")],
    )
    async def issue(self, request: web.Request) -> web.Response:
        """201: a ticket for one connection of who asks."""
        who = await self._door.identify(request)
        name = await self._tickets.issue(who.user, who.topics, who.expires_at, who.token_id)
        return json_response(TicketAnswer(name, OPENING_SECONDS), status=201)
