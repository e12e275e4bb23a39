"""Agents of PydanticAI behind its adapters for AG-UI and the AI SDK, with its own fake model.

It prints the port first, and `stopped` when a client closes the connection of the agent `slow`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import uvicorn
from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaThinkingPart,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)
from pydantic_ai.ui import StateDeps
from pydantic_ai.ui.ag_ui import AGUIAdapter
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Deltas = AsyncIterator[str | DeltaToolCalls | dict[int, DeltaThinkingPart]]


def _returns(messages: list[ModelMessage]) -> list[ToolReturnPart]:
    parts = [part for m in messages if isinstance(m, ModelRequest) for part in m.parts]
    return [part for part in parts if isinstance(part, ToolReturnPart)]


async def _weather(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Call a tool that the agent has, then say what it returned."""
    if not (returns := _returns(messages)):
        yield {0: DeltaThinkingPart(content="Which weather?")}
        yield "Let me look. "
        yield {2: DeltaToolCall("weather", tool_call_id="c1")}
        yield {2: DeltaToolCall(json_args='{"city":')}
        yield {2: DeltaToolCall(json_args='"Köln"}')}
    else:
        yield f"It is {returns[-1].model_response_object()['sky']} in Köln."


async def _frontend(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Call the tool that the client has offered, then repeat the result."""
    if not (returns := _returns(messages)):
        yield {0: DeltaToolCall(info.function_tools[0].name, '{"n":1}', tool_call_id="c1")}
    else:
        yield f"The client says {returns[-1].content}."


async def _slow(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Count until the client closes the connection."""
    try:
        for n in range(100_000):
            yield f"{n} "
            await asyncio.sleep(0.02)
    except BaseException:
        print("stopped", flush=True)
        raise


async def _echo(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Say what the user has sent."""
    parts = [part for m in messages if isinstance(m, ModelRequest) for part in m.parts]
    sent = [part.content for part in parts if isinstance(part, UserPromptPart)]
    kinds = [
        [each if isinstance(each, str) else getattr(each, "media_type", "") for each in content]
        for content in sent
        if not isinstance(content, str)
    ]
    yield json.dumps([*[each for each in sent if isinstance(each, str)], *kinds])


async def _failing(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Fail in the middle of the answer."""
    yield "Half of "
    raise RuntimeError("the agent has no memory")


async def _refunds(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Call a tool that a person must approve, then say what happened."""
    if not (returns := _returns(messages)):
        yield {0: DeltaToolCall("refund", '{"euros":40}', tool_call_id="c1")}
    else:
        yield f"Result: {returns[-1].content}"


class _Cart(BaseModel):
    """The state that the client and the agent `cart` share."""

    items: list[str] = []


async def _cart(messages: list[ModelMessage], info: AgentInfo) -> Deltas:
    """Say the instructions, which have the state, and the names of the client's tools."""
    yield json.dumps([info.instructions, [tool.name for tool in info.function_tools]])


def _cart_agent() -> Agent[StateDeps[_Cart], str | DeferredToolRequests]:
    agent = Agent(
        FunctionModel(stream_function=_cart),
        deps_type=StateDeps[_Cart],
        output_type=[str, DeferredToolRequests],
    )

    @agent.instructions
    def instructions(ctx: RunContext[StateDeps[_Cart]]) -> str:
        return ", ".join(ctx.deps.state.items)

    return agent


def _agents() -> dict[str, Agent[None, str | DeferredToolRequests]]:
    models = {
        "weather": _weather,
        "frontend": _frontend,
        "slow": _slow,
        "echo": _echo,
        "failing": _failing,
        "refunds": _refunds,
    }
    agents: dict[str, Agent[None, str | DeferredToolRequests]] = {
        name: Agent(FunctionModel(stream_function=each), output_type=[str, DeferredToolRequests])
        for name, each in models.items()
    }

    @agents["weather"].tool_plain
    def weather(city: str) -> dict[str, str]:
        return {"city": city, "sky": "clear"}

    @agents["refunds"].tool_plain(requires_approval=True)
    def refund(euros: int) -> str:
        return f"refunded {euros} euros"

    return agents


def _app() -> Starlette:
    agents = _agents()

    cart_agent = _cart_agent()

    async def cart(request: Request) -> Response:
        deps = StateDeps(_Cart())
        return await AGUIAdapter.dispatch_request(request, agent=cart_agent, deps=deps)

    async def run(request: Request) -> Response:
        agent = agents[request.path_params["agent"]]
        return await AGUIAdapter.dispatch_request(request, agent=agent, include_usage=True)

    async def chat(request: Request) -> Response:
        agent = agents[request.path_params["agent"]]
        return await VercelAIAdapter.dispatch_request(request, agent=agent, sdk_version=6)

    return Starlette(
        routes=[
            Route("/agents/cart/", cart, methods=["POST"]),
            Route("/agents/{agent}/", run, methods=["POST"]),
            Route("/chats/{agent}", chat, methods=["POST"]),
        ]
    )


def main() -> None:
    """Serve the agents on a free port of the loopback interface."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(_app(), log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
