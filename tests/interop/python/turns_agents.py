# /// script
# requires-python = ">=3.11"
# dependencies = ["langchain-openai>=1.7,<2", "openai-agents>=0.24,<0.25"]
# ///
"""`openai-agents` and `langchain-openai`, which need other versions than the hub's tests do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.interop.python.scenario import Scenario
from tests.interop.python.turns import Ask, run, weather


def agents(scenario: Scenario) -> dict[str, Ask]:
    """Return conversations of `openai-agents`, whose loop runs the tools."""
    set_tracing_disabled(True)  # otherwise it sends traces to OpenAI
    url, token = f"{scenario.url}/v1", scenario.token
    stateless = ModelSettings(store=False, response_include=["reasoning.encrypted_content"])
    kinds = {
        "chat": _list,
        "list": _list,
        "session": _session,
        "previous": _previous,
        "thinker": _list,
    }
    asks = {}
    for kind, keep in kinds.items():
        for read in ("stream", "whole"):
            name = f"agents-{kind}-{read}"
            agent = Agent(
                name="a",
                instructions="Be brief.",
                model=f"{'thinker' if kind == 'thinker' else 'turns'}/{name}",
                model_settings=stateless if kind == "thinker" else ModelSettings(),
                tools=[function_tool(weather)],
            )
            provider = OpenAIProvider(base_url=url, api_key=token, use_responses=kind != "chat")
            config = RunConfig(model_provider=provider)
            asks[name] = keep(_runner(agent, config, is_stream=read == "stream"))
    return asks


def _runner(agent: Any, config: Any, *, is_stream: bool) -> Callable[..., Awaitable[Any]]:
    async def run(given: Any, **more: Any) -> Any:
        if not is_stream:
            return await Runner.run(agent, given, run_config=config, **more)
        result = Runner.run_streamed(agent, given, run_config=config, **more)
        async for _ in result.stream_events():
            pass
        return result

    return run


def _list(run: Callable[..., Awaitable[Any]]) -> Ask:
    """Keep the items in the application."""
    history: list[Any] = []

    async def ask(prompt: str) -> str:
        result = await run([*history, {"role": "user", "content": prompt}])
        history[:] = result.to_input_list()
        return str(result.final_output)

    return ask


def _session(run: Callable[..., Awaitable[Any]]) -> Ask:
    """Keep the items in a session of the SDK."""
    session = SQLiteSession("conversation")

    async def ask(prompt: str) -> str:
        return str((await run(prompt, session=session)).final_output)

    return ask


def _previous(run: Callable[..., Awaitable[Any]]) -> Ask:
    """Name the response before."""
    options: dict[str, Any] = {"auto_previous_response_id": True}

    async def ask(prompt: str) -> str:
        result = await run(prompt, **options)
        options["previous_response_id"] = result.last_response_id
        return str(result.final_output)

    return ask


def langchain(scenario: Scenario) -> dict[str, Ask]:
    """Return conversations of `langchain-openai`: the application keeps the messages."""
    url, token = f"{scenario.url}/v1", scenario.token
    kinds: dict[str, Any] = {
        "chat": {},
        "responses": {"use_responses_api": True},
        "previous": {"use_responses_api": True, "use_previous_response_id": True},
        # Without `store`, the requests have the reasoning in its encrypted form.
        "thinker": {"store": False, "include": ["reasoning.encrypted_content"]},
    }
    asks = {}
    for kind, more in kinds.items():
        for read in ("stream", "whole"):
            name = f"langchain-{kind}-{read}"
            model = f"{'thinker' if kind == 'thinker' else 'turns'}/{name}"
            llm = ChatOpenAI(model=model, base_url=url, api_key=token, timeout=60.0, **more)
            asks[name] = _langchain(llm.bind_tools([tool(weather)]), is_stream=read == "stream")
    return asks


def _langchain(llm: Any, *, is_stream: bool) -> Ask:
    messages: list[Any] = []

    async def answer() -> Any:
        if not is_stream:
            return await llm.ainvoke(messages)
        whole: Any = None
        async for chunk in llm.astream(messages):
            whole = chunk if whole is None else whole + chunk
        return whole

    async def ask(prompt: str) -> str:
        messages.append(HumanMessage(prompt))
        while True:
            message = await answer()
            messages.append(message)
            if not message.tool_calls:
                return str(message.text)
            messages.extend([await tool(weather).ainvoke(call) for call in message.tool_calls])

    return ask


if __name__ == "__main__":
    run(lambda scenario: agents(scenario) | langchain(scenario))
