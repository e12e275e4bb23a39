"""LangGraph as a function, with the real library and its fake model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
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
from hub.testing import ProducerResult, crash_at_every_part, run_producer

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


def build_agent(checkpointer: Any = None, call: dict[str, Any] = CALL) -> Any:
    """Return a graph with a model and a tool."""
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


async def test_agent() -> None:
    """Reasoning, the tool call with its result, what the tool writes, text and usage, in order."""
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Where is my order 981?"},
    ]
    result = await run_producer(producing(build_agent()), messages=history)
    assert result.status == "done"
    reasoning, call, status, text = result.seen
    assert reasoning == {"type": "reasoning", "text": "An order."}
    assert (call["name"], call["arguments"]) == ("find_order", '{"number": 981}')
    assert (call["result"], call["is_error"]) == ("order 981 is shipped", False)
    assert status == {"type": "status", "text": "Looking for order 981"}
    assert text == {"type": "text", "text": "It is on its way."}
    assert result.end["usage"]["prompt_tokens"] == 5
    assert [part.text for part in result.parts if hasattr(part, "text")].count("Hello!") == 0


async def test_tool_that_fails() -> None:
    """Its result is an error."""
    call = {**CALL, "args": {"number": -1}}
    result = await run_producer(producing(build_agent(call=call)))
    (seen,) = [part for part in result.seen if part["type"] == "tool_call"]
    assert seen["is_error"] is True


async def test_nodes_that_are_shown() -> None:
    """Tokens of other nodes stay hidden, their tool calls do not."""
    result = await run_producer(producing(build_agent(), nodes=["other"]))
    assert [part["type"] for part in result.seen] == ["tool_call", "status"]


async def test_messages_of_no_model() -> None:
    """A message that a node returns whole is shown once, also in a subgraph and for any state."""

    class State(TypedDict):
        messages: Annotated[list[BaseMessage], add_messages]

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
    result = await run_producer(producing(outer.compile()))
    assert (result.status, result.text) == ("done", "From inside. From a tuple.")


def without_status(result: ProducerResult) -> list[dict[str, Any]]:
    """Return the parts but the statuses: a node that has ended does not write them again."""
    return [part for part in result.seen if part["type"] != "status"]


async def test_lost_at_every_part() -> None:
    """A later attempt continues in the thread of the graph."""
    produce = producing(build_agent(InMemorySaver()))
    whole = await run_producer(produce)
    lost = await crash_at_every_part(produce)
    assert len(lost) > 3
    assert [without_status(result) for result in lost] == [without_status(whole)] * len(lost)
    assert len(lost[-1].parts) < len(whole.parts)  # the last attempt repeats nothing that was saved


async def test_lost_thread() -> None:
    """If the graph has lost its thread, the answer begins anew."""

    class Forgetful(InMemorySaver):
        async def aget_tuple(self, config: Any) -> Any:
            stored = await super().aget_tuple(config)
            return stored if self.storage.get(config["configurable"]["thread_id"]) else None

    saver = Forgetful()

    async def answer(run: Run) -> AsyncIterator[Part]:
        if run.attempt == 2:
            saver.storage.clear()
        async for part in langgraph.stream(build_agent(saver), run):
            yield part

    produce = App().producer(retries=3)(answer)
    whole = await run_producer(produce)
    lost = await crash_at_every_part(produce)
    assert [without_status(result) for result in lost] == [without_status(whole)] * len(lost)


async def test_stop_ends_the_graph() -> None:
    """A stopped answer leaves no task of the graph behind."""
    ends: list[str] = []

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
    result = await run_producer(producing(graph.compile()), stop_after=1)
    assert (result.status, ends) == ("stopped", ["cancelled"])


def build_approval(value: Callable[[int], Any], rounds: int = 1) -> Any:
    """Return a graph with a node that interrupts several times."""

    def ask(_: MessagesState) -> dict[str, Any]:
        answers = [interrupt(value(number)) for number in range(rounds)]
        return {"messages": [AIMessage(f"Your answers: {answers}")]}

    graph = StateGraph(MessagesState)
    graph.add_node("refund", RunnableLambda(ask))
    graph.add_edge(START, "refund")
    return graph.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize(
    ("value", "answer", "expected", "request_fields"),
    [
        ("Refund 40 €?", "yes", "yes", {"prompt": "Refund 40 €?"}),
        (
            {"question": "Refund?", "options": ["approve", "deny"]},
            "deny",
            "deny",
            {"prompt": "Refund?", "options": ["approve", "deny"]},
        ),
        (
            {"prompt": "How much?", "schema": {"type": "number"}},
            40,
            40,
            {"prompt": "How much?", "schema": {"type": "number"}},
        ),
        ({"amount": 40}, "ok", "ok", {"prompt": '{"amount": 40}'}),
        (
            {
                "action_requests": [{"name": "refund", "args": {"amount": 40}}],
                "review_configs": [{"action_name": "refund"}],
            },
            "approve",
            {"decisions": [{"type": "approve"}]},
            {"prompt": 'refund {"amount": 40}', "options": ["approve", "reject"]},
        ),
    ],
)
async def test_interrupt(
    value: Any, answer: Any, expected: Any, request_fields: dict[str, Any]
) -> None:
    """An interrupt suspends the run, and its answer resumes the graph."""
    graph = build_approval(lambda _: value)
    result = await run_producer(producing(graph), inputs={"refund": answer})
    assert (result.status, result.text) == ("done", f"Your answers: {[expected]}")
    (requested,) = [data for name, data in result.events if name == "generation.input_requested"]
    assert {name: requested[name] for name in request_fields} == request_fields


async def test_interrupts_of_one_node() -> None:
    """Each has a key of its own, and the run is suspended for each."""
    graph = build_approval(lambda number: f"Question {number}?", rounds=3)
    inputs = {"refund": "a", "refund-2": "b", "refund-3": "c"}
    result = await run_producer(producing(graph), inputs=inputs)
    assert result.text == "Your answers: ['a', 'b', 'c']"
