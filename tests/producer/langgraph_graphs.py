"""Graphs of LangGraph for tests/producer/test_langgraph.py, which imports them late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt
from typing_extensions import TypedDict

from hub.core.parts import Part, Status
from hub.producer import App, Run
from hub.producer.adapters import langgraph

CALL = {"id": "call_1", "name": "find_order", "args": {"number": 981}}
USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


@tool
def find_order(number: int) -> str:
    """Return an order of the shop."""
    if number < 0:
        raise ValueError("there is no such order")
    get_stream_writer()(Status(f"Looking for order {number}"))
    return f"order {number} is shipped"


class FakeModel(GenericFakeChatModel):
    """Asks for the tool, then writes the answer token by token, with reasoning and usage."""

    call: dict[str, Any] = CALL

    def _stream(self, messages: Any, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        if isinstance(messages[-1], ToolMessage):
            yield from super()._stream(messages, *args, **options)
            last = AIMessageChunk(content="", usage_metadata=USAGE)
            yield ChatGenerationChunk(message=last)
        else:
            reasoning = [{"type": "reasoning", "reasoning": "An order."}]
            yield ChatGenerationChunk(message=AIMessageChunk(content=reasoning))
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_calls=[self.call]))


def build_agent(
    checkpointer: Any = None, call: dict[str, Any] = CALL, *, saves: bool = False
) -> Any:
    """Return a graph with a model and a tool. saves: keep its threads in memory."""
    if saves:
        checkpointer = InMemorySaver()
    model = FakeModel(messages=iter(["It is on its way."] * 100), call=call)

    async def ask_model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", ask_model)
    graph.add_node("tools", ToolNode([find_order], handle_tool_errors=True))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=checkpointer)


def producing(graph: Any, **options: Any) -> Callable[[Run], AsyncIterator[Part]]:
    """Return the function of a graph."""

    async def answer(run: Run) -> AsyncIterator[Part]:
        async for part in langgraph.stream(graph, run, **options):
            yield part

    producer = App().producer(retries=3)
    return producer(answer)


class State(TypedDict):
    """A state with messages that is not LangGraph's own."""

    messages: Annotated[list[BaseMessage], add_messages]


def build_nested() -> Any:
    """Return a graph whose nodes write whole messages, one of them in a subgraph."""
    inner = StateGraph(State)
    inner.add_node("say", lambda _: {"messages": [AIMessage("From inside. ")]})
    inner.add_edge(START, "say")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile())
    outer.add_node("tuple", lambda _: {"messages": ("assistant", "From a tuple.")})
    outer.add_node("nothing", lambda _: None)
    outer.add_edge(START, "inner")
    outer.add_edge("inner", "tuple")
    outer.add_edge("tuple", "nothing")
    return outer.compile()


class ForgetfulSaver(InMemorySaver):
    """Has no state of a thread that was cleared."""

    async def aget_tuple(self, config: Any) -> Any:
        """Return the state of a thread, or None."""
        stored = await super().aget_tuple(config)
        return stored if self.storage.get(config["configurable"]["thread_id"]) else None


def producing_forgetful() -> Callable[[Run], AsyncIterator[Part]]:
    """Return the function of an agent whose second attempt finds no state of its thread."""
    saver = ForgetfulSaver()

    async def answer(run: Run) -> AsyncIterator[Part]:
        if run.attempt == 2:
            saver.storage.clear()
        async for part in langgraph.stream(build_agent(saver), run):
            yield part

    producer = App().producer(retries=3)
    return producer(answer)


def build_waiting(ends: list[str]) -> Any:
    """Return a graph whose node waits for ever, and adds to the list when it is cancelled."""

    async def wait(_: MessagesState) -> dict[str, Any]:
        try:
            get_stream_writer()("waits")
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")
        return {}

    graph = StateGraph(MessagesState)
    graph.add_node("wait", RunnableLambda(wait))
    graph.add_edge(START, "wait")
    return graph.compile()


def build_approval(value: Callable[[int], Any], rounds: int = 1) -> Any:
    """Return a graph with a node that interrupts several times."""

    def ask(_: MessagesState) -> dict[str, Any]:
        answers = [interrupt(value(number)) for number in range(rounds)]
        return {"messages": [AIMessage(f"Your answers: {answers}")]}

    graph = StateGraph(MessagesState)
    graph.add_node("refund", RunnableLambda(ask))
    graph.add_edge(START, "refund")
    return graph.compile(checkpointer=InMemorySaver())
