"""GET /v1/responses over WebSocket: responses one after another on one connection."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from hub.compat.openai_responses.earlier_answers import EarlierAnswers
from hub.compat.openai_responses.websocket_session import ResponsesSession
from hub.compat.openai_responses.websocket_view import ResponsesView
from hub.compat.requests import CompatRequests
from hub.http.parameters import OPEN_USER
from hub.http.routing import USER, Operation, ResponseSpec, build_routes


class ResponsesWebSocketRoutes:
    """A route of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat
        self._max_bytes = compat.requests.max_prompt_bytes
        self._earlier_answers = EarlierAnswers(compat.generations, max_bytes=self._max_bytes)

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="connectResponses",
        method="GET",
        paths=["/v1/responses"],
        tag="v1",
        summary="OpenAI: create responses over WebSocket",
        security=USER,
        parameters=[OPEN_USER],
        responses=[
            ResponseSpec(
                status=101,
                description="Each message of the client is `response.create` with the fields of "
                "POST /v1/responses; each message of the hub is an event of the response",
            )
        ],
        refuses=[426, 429],
        long_lived=True,
    )
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """101 and the events of one response after another, or 426 for a request that is not for
        WebSocket.
        """
        identity = await self._compat.identify(request)
        view = ResponsesView()
        new_session = partial(
            ResponsesSession,
            self._compat,
            self._earlier_answers,
            identity,
            view,
            max_waiting_bytes=self._max_bytes,
        )
        return await self._compat.open_web_socket(request, identity, view, new_session)
