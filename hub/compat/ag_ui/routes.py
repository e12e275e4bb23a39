"""POST /v1/agui: the runs of AG-UI, for its HttpAgent, CopilotKit and similar clients.

A repeated request for the same run of the same thread joins the answer and starts nothing.
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from hub.api.generation_requests import check_chat_id
from hub.api.json_decoding import convert_json
from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ag_ui.requests import NATIVE_KIND, RunAgentInput, to_request
from hub.compat.operations import answer_operation
from hub.compat.requests import CompatRequests
from hub.http.routing import build_routes


class AgUiRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @answer_operation(
        "/v1/agui",
        "AG-UI: start or join a run",
        RunAgentInput,
        "The events of the run",
        operation_id="runAgent",
        is_always_stream=True,
    )
    async def run(self, request: web.Request) -> web.StreamResponse:
        """Start a run, or join it if it was started before, and stream its events.

        A run that resumes the interrupts of an answer streams what follows them.
        """
        identity = await self._compat.identify(request)
        raw = await self._compat.read_body(request)
        body = convert_json(raw, RunAgentInput)
        props = body.props
        new_encoder = partial(AgUiEncoder, has_activities=body.knows_activities)
        decisions = [each.to_decision() for each in body.resume or ()]
        given = await self._compat.decisions.give(decisions, identity.user)
        if given is not None:
            behind = partial(new_encoder, behind=given.key, run=body.run_id)
            return await self._compat.stream(request, identity, given.generation, behind)
        selection = {"upstream": props.upstream, "model": props.model}
        is_native = self._compat.has_kind(NATIVE_KIND, selection)
        created = await self._compat.start(
            request,
            identity,
            to_request(body, props, raw if is_native else None),
            key=body.idempotency_key,
            chat=check_chat_id(body.thread_id, path="threadId"),
        )
        return await self._compat.stream(
            request,
            identity,
            created.generation,
            new_encoder,
            stop_on_disconnect=props.on_disconnect == "stop",
        )
