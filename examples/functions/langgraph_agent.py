"""A LangGraph agent as the answer: its tokens, its tool calls and their results.

    pip install langgraph && cd examples/functions && hub dev --app langgraph_agent:app --reload

The model is a fake one, so no key is needed; `init_chat_model("openai:gpt-5")` takes its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from hub.producer import App, Part, Run
from hub.producer.adapters import langgraph

app = App()
CALL = {"id": "call_1", "name": "find_order", "args": {"number": 981}}
threads = InMemorySaver()  # in production one that outlives the process, such as PostgresSaver


@tool
def find_order(number: int) -> dict[str, Any]:
    """Return an order of the shop."""
    return {"number": number, "state": "shipped", "arrives": "tomorrow"}


class FakeModel(GenericFakeChatModel):
    """Asks for the tool, then writes the answer token by token."""

    def bind_tools(self, tools: Any, **options: Any) -> FakeModel:
        return self

    def _stream(self, messages: Any, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        if isinstance(messages[-1], ToolMessage):
            yield from super()._stream(messages, *args, **options)
        else:
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_calls=[CALL]))


def build_agent() -> Any:
    fake = FakeModel(messages=iter(["Your order **981** is shipped and arrives tomorrow."]))
    model = fake.bind_tools([find_order])

    async def ask_model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", ask_model)
    graph.add_node("tools", ToolNode([find_order]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=threads)


@app.producer(retries=2, timeout_seconds=120)
async def agent(run: Run) -> AsyncIterator[Part]:
    async for part in langgraph.stream(build_agent(), run):
        yield part
