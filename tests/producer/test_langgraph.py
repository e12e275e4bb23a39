"""LangGraph as a function, with the real library and its fake model."""

from __future__ import annotations

from typing import Any

import pytest

from hub.testing import ProducerResult, crash_at_every_part, run_producer
from tests.producer import frameworks


async def test_agent() -> None:
    """Reasoning, the tool call with its result, what the tool writes, text and usage, in order."""
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Where is my order 981?"},
    ]
    result = await run_producer(
        frameworks.langgraph.producing(frameworks.langgraph.build_agent()), messages=history
    )
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
    call = {**frameworks.langgraph.CALL, "args": {"number": -1}}
    result = await run_producer(
        frameworks.langgraph.producing(frameworks.langgraph.build_agent(call=call))
    )
    (seen,) = [part for part in result.seen if part["type"] == "tool_call"]
    assert seen["is_error"] is True


async def test_nodes_that_are_shown() -> None:
    """Tokens of other nodes stay hidden, their tool calls do not."""
    result = await run_producer(
        frameworks.langgraph.producing(frameworks.langgraph.build_agent(), nodes=["other"])
    )
    assert [part["type"] for part in result.seen] == ["tool_call", "status"]


async def test_messages_of_no_model() -> None:
    """A message that a node returns whole is shown once, also in a subgraph and for any state."""
    result = await run_producer(frameworks.langgraph.producing(frameworks.langgraph.build_nested()))
    assert (result.status, result.text) == ("done", "From inside. From a tuple.")


def without_status(result: ProducerResult) -> list[dict[str, Any]]:
    """Return the parts but the statuses: a node that has ended does not write them again."""
    return [part for part in result.seen if part["type"] != "status"]


async def test_lost_at_every_part() -> None:
    """A later attempt continues in the thread of the graph."""
    graph = frameworks.langgraph.build_agent(saves=True)
    produce = frameworks.langgraph.producing(graph)
    whole = await run_producer(produce)
    lost = await crash_at_every_part(produce)
    assert len(lost) > 3
    assert [without_status(result) for result in lost] == [without_status(whole)] * len(lost)
    assert len(lost[-1].parts) < len(whole.parts)  # the last attempt repeats nothing that was saved


async def test_lost_thread() -> None:
    """If the graph has lost its thread, the answer begins anew."""
    produce = frameworks.langgraph.producing_forgetful()
    whole = await run_producer(produce)
    lost = await crash_at_every_part(produce)
    assert [without_status(result) for result in lost] == [without_status(whole)] * len(lost)


async def test_stop_ends_the_graph() -> None:
    """A stopped answer leaves no task of the graph behind."""
    ends: list[str] = []
    result = await run_producer(
        frameworks.langgraph.producing(frameworks.langgraph.build_waiting(ends)), stop_after=1
    )
    assert (result.status, ends) == ("stopped", ["cancelled"])


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
    graph = frameworks.langgraph.build_approval(lambda _: value)
    result = await run_producer(frameworks.langgraph.producing(graph), inputs={"refund": answer})
    assert (result.status, result.text) == ("done", f"Your answers: {[expected]}")
    (requested,) = [data for name, data in result.events if name == "generation.input_requested"]
    assert {name: requested[name] for name in request_fields} == request_fields


async def test_interrupts_of_one_node() -> None:
    """Each has a key of its own, and the run is suspended for each."""
    graph = frameworks.langgraph.build_approval(lambda number: f"Question {number}?", rounds=3)
    inputs = {"refund": "a", "refund-2": "b", "refund-3": "c"}
    result = await run_producer(frameworks.langgraph.producing(graph), inputs=inputs)
    assert result.text == "Your answers: ['a', 'b', 'c']"
