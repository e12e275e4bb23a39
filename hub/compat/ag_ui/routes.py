"""POST /v1/agui: AG-UI's runs, for its HttpAgent, CopilotKit and their kin.

The same run of the same thread again joins its answer and starts nothing. What the protocol does
not know (model, upstream, params) is read from `forwardedProps`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from aiohttp import web

from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json
from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ai_sdk.routes import check_chat_id
from hub.compat.requests import CompatRequests
from hub.core.generation import Message
from hub.errors import BadRequest
from hub.http.parameters import IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.http.routing import USER, Operation, ResponseSpec, build_routes, json_body


class AgUiMessage(msgspec.Struct, frozen=True, rename="camel"):
    """One message."""

    role: str
    id: str | None = None
    content: Any = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def to_message(self) -> Message:
        """As the hub keeps it."""
        return Message(
            role=self.role,
            content=_content(self.content),
            name=self.name,
            tool_calls=self.tool_calls or None,
            tool_call_id=self.tool_call_id,
        )


class Tool(msgspec.Struct, frozen=True):
    """A tool of the client's."""

    name: str
    description: str = ""
    parameters: Any = None


class Context(msgspec.Struct, frozen=True):
    """What the application lets the agent know."""

    value: str
    description: str = ""


class ForwardedProps(msgspec.Struct, frozen=True):
    """What is read of `forwardedProps`."""

    model: str | None = None
    upstream: str | None = None
    params: dict[str, Any] = {}
    on_disconnect: str = "continue"


class RunAgentInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body."""

    thread_id: str
    run_id: str
    messages: list[AgUiMessage]
    tools: list[Tool] | None = None
    context: list[Context] | None = None
    forwarded_props: Any = None


class AgUiRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        method="POST",
        paths=["/v1/agui"],
        tag="v1",
        summary="AG-UI: a run",
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY],
        body=json_body(RunAgentInput),
        responses=[
            ResponseSpec(
                status=200,
                description="The run's events",
                content={"text/event-stream": None},
                headers=LOCATED,
            )
        ],
        refuses=[404, 429],
        long_lived=True,
    )
    async def run(self, request: web.Request) -> web.StreamResponse:
        """The run's events."""
        identity = await self._compat.identify(request)
        body = convert_json(await self._compat.read_body(request), RunAgentInput)
        props = body.forwarded_props
        said = convert_json(props, ForwardedProps) if isinstance(props, dict) else ForwardedProps()
        created = await self._compat.start(
            request,
            identity,
            to_request(body, said),
            key=_idempotency_key(body),
            chat=check_chat_id(body.thread_id, path="threadId"),
        )
        stop = said.on_disconnect == "stop"
        return await self._compat.stream(
            request, identity, created.generation, AgUiEncoder, stop_on_disconnect=stop
        )


def to_request(body: RunAgentInput, said: ForwardedProps) -> GenerateBody:
    """What the run asks. Raises BadRequest."""
    told = [message for message in body.messages if message.role not in ("activity", "reasoning")]
    if not told:
        raise BadRequest("messages is empty", path="messages")
    ids: list[str | None] = [message.id for message in told]
    messages = [message.to_message() for message in told]
    if body.context:
        known = "\n".join(f"{each.description}: {each.value}" for each in body.context)
        messages.insert(0, Message(role="system", content=known))
        ids.insert(0, None)
    params = dict(said.params)
    if body.tools:
        params["tools"] = [
            {"type": "function", "function": {"name": tool.name, "description": tool.description,
                                              "parameters": tool.parameters or {}}}
            for tool in body.tools
        ]  # fmt: skip
    return GenerateBody(
        messages=messages,
        model=said.model,
        upstream=said.upstream,
        params=params,
        metadata={"thread": body.thread_id, "run": body.run_id, "ids": ids},
        on_disconnect=said.on_disconnect,
    )


def _idempotency_key(body: RunAgentInput) -> str:
    """Of the run: a hash, since its two ids may be long and hold anything."""
    ids = msgspec.json.encode((body.thread_id, body.run_id))
    return f"agui {hashlib.sha256(ids).hexdigest()}"


def _content(content: Any) -> Any:
    """A text, or chat's parts."""
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    """Text stays; an image by its URL or its data is what chat calls image_url."""
    if not isinstance(part, dict) or part.get("type") not in ("image", "binary"):
        return part
    source = part["source"] if isinstance(part.get("source"), dict) else part
    url = source.get("url") or source.get("value")
    data = source.get("data")
    if url is None or (source.get("type") == "data" and data is None):
        url = f"data:{source.get('mimeType', 'image/png')};base64,{data or url}"
    return {"type": "image_url", "image_url": {"url": url}}
