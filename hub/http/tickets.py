"""POST /tickets, and the door that takes them."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator, Identity
from hub.api.request_context import RequestContext
from hub.core.channel import check_user_id
from hub.engine.tickets import OPENING_SECONDS, Tickets
from hub.errors import Forbidden
from hub.http.json_body import json_response
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json


class TicketAuthenticator:
    """For streams: another door, and tickets in the URL."""

    def __init__(self, authenticator: Authenticator, tickets: Tickets) -> None:
        self._authenticator = authenticator
        self._tickets = tickets

    async def identify(self, request: RequestContext) -> Identity:
        name = request.query.get("ticket")
        if name is None:
            return await self._authenticator.identify(request)
        ticket = await self._tickets.redeem(name, request.headers.get("Last-Event-ID"))
        named = request.match_info.get("user_id")
        if named is not None and check_user_id(named, path="user") != ticket.user:
            raise Forbidden("the ticket is another user's")
        return Identity(ticket.user, ticket.topics, ticket.expires_at, ticket.token_id)


class TicketResponse(msgspec.Struct, frozen=True):
    """expires_in: seconds to open the connection."""

    ticket: str
    expires_in: float


class TicketRoutes:
    """A route of the public listener."""

    def __init__(self, authenticator: Authenticator, tickets: Tickets) -> None:
        self._authenticator = authenticator
        self._tickets = tickets

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/tickets"],
        tag="streams",
        summary="Get a ticket for a URL that must not carry a token",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(201, TicketResponse, "The ticket")],
    )
    async def issue(self, request: web.Request) -> web.Response:
        """201: a ticket for one connection of who asks."""
        who = await self._authenticator.identify(request)
        name = await self._tickets.issue(who.user, who.topics, who.expires_at, who.token_id)
        return json_response(TicketResponse(name, OPENING_SECONDS), status=201)
