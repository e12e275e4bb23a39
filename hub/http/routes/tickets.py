"""POST /tickets: tickets for URLs that must not carry a token."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.engine.tickets import OPENING_SECONDS, Tickets
from hub.http.json_body import json_response
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, build_routes, json


class TicketResponse(msgspec.Struct, frozen=True):
    """`expires_in` is the number of seconds in which the client must open the connection."""

    ticket: str
    expires_in: float


class TicketRoutes:
    """The ticket route of the public listener."""

    def __init__(self, authenticator: Authenticator, tickets: Tickets) -> None:
        self._authenticator = authenticator
        self._tickets = tickets

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="createTicket",
        method="POST",
        paths=["/tickets"],
        tag="streams",
        summary="Create a ticket",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(201, TicketResponse, "The ticket was created.")],
        refuses=[429],
    )
    async def create(self, request: web.Request) -> web.Response:
        """Creates a ticket for the user of the request. A ticket goes into the URL of a connection
        in place of a token. It opens one connection, and remains valid for that connection to
        resume.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        ticket = await self._tickets.issue(
            identity.user,
            identity.topics,
            identity.expires_at,
            identity.token_id,
            scopes=tuple(sorted(identity.scopes)),
            ask_topics=identity.ask_topics,
        )
        return json_response(TicketResponse(ticket, OPENING_SECONDS), status=201)
