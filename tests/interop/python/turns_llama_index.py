# /// script
# requires-python = ">=3.11"
# dependencies = ["llama-index-llms-openai>=0.8,<0.9"]
# ///
"""`llama-index-llms-openai`, which needs version 2 of `openai`."""

from __future__ import annotations

from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses

from tests.interop.python.scenario import Scenario
from tests.interop.python.turns import Ask, run, weather


def conversations(scenario: Scenario) -> dict[str, Ask]:
    """Return conversations of both classes."""
    options: Any = {"api_base": f"{scenario.url}/v1", "api_key": scenario.token}
    asks = {}
    for read in ("stream", "whole"):
        is_stream = read == "stream"
        name = f"llama-index-chat-{read}"
        # OpenAI accepts only the names of OpenAI's models. The hub gets the other name.
        more = {"additional_kwargs": {"model": f"turns/{name}"}}
        asks[name] = _agent(OpenAI(model="gpt-4o", **more, **options), is_stream=is_stream)
        name = f"llama-index-responses-{read}"
        llm = OpenAIResponses(model=f"turns/{name}", context_window=100_000, **options)
        asks[name] = _agent(llm, is_stream=is_stream)
        name = f"llama-index-previous-{read}"
        llm = OpenAIResponses(
            model=f"turns/{name}",
            context_window=100_000,
            track_previous_responses=True,
            **options,
        )
        asks[name] = _previous(llm, is_stream=is_stream)
    return asks


def _agent(llm: Any, *, is_stream: bool) -> Ask:
    """An agent of LlamaIndex, which keeps the messages and runs the tools."""
    agent = FunctionAgent(tools=[weather], llm=llm, streaming=is_stream)
    memory = ChatMemoryBuffer.from_defaults(token_limit=10_000, tokenizer_fn=str.split)

    async def ask(prompt: str) -> str:
        return str(await agent.run(prompt, memory=memory))

    return ask


def _previous(llm: Any, *, is_stream: bool) -> Ask:
    """Messages that the application sends once: each request names the response before it."""
    tool = FunctionTool.from_defaults(weather)

    async def answer(messages: list[ChatMessage]) -> Any:
        if not is_stream:
            return await llm.achat_with_tools([tool], chat_history=messages)
        stream = await llm.astream_chat_with_tools([tool], chat_history=messages)
        return [response async for response in stream][-1]

    async def ask(prompt: str) -> str:
        messages = [ChatMessage(role="user", content=prompt)]
        while True:
            response = await answer(messages)
            calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            if not calls:
                return str(response.message.content)
            messages = [
                ChatMessage(
                    role="tool",
                    content=str(tool(**call.tool_kwargs)),
                    additional_kwargs={"call_id": call.tool_id},
                )
                for call in calls
            ]

    return ask


if __name__ == "__main__":
    run(conversations)
