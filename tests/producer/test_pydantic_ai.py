"""PydanticAI as a function, with the real library and its function model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    CallDeferred,
    CustomEvent,
    DeferredToolRequests,
    ModelRetry,
    RunContext,
)
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from hub.core.parts import Part
from hub.producer import App, Run
from hub.producer.adapters import pydantic_ai
from hub.testing import crash_at_every_part, run_producer


@dataclass(kw_only=True)
class Progress(CustomEvent):
    """An event of the application's own."""

    done: int


class Shop:
    """An agent with tools; it counts the calls of its model and its tools."""

    def __init__(self, *calls: tuple[str, str]) -> None:
        self._calls = calls
        self.requests: list[list[ModelMessage]] = []
        self.numbers: list[int] = []
        self.agent: Agent[None, Any] = Agent(
            FunctionModel(stream_function=self._stream), output_type=[str, DeferredToolRequests]
        )
        self.agent.tool(self.find_order)
        self.agent.tool_plain(requires_approval=True)(self.refund)
        self.agent.tool_plain(self.ask_warehouse)

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        self.requests.append(messages)
        if any(part.part_kind in ("tool-return", "retry-prompt") for part in messages[-1].parts):
            yield "All "
            yield "done."
            return
        yield {0: DeltaThinkingPart(content="Let me see.")}
        yield {
            number: DeltaToolCall(name, arguments, tool_call_id=f"call_{number}")
            for number, (name, arguments) in enumerate(self._calls, 1)
        }

    async def find_order(self, context: RunContext[None], number: int) -> dict[str, Any]:
        """Return an order."""
        self.numbers.append(number)
        if number < 0:
            raise ModelRetry("there is no such order")
        await context.emit(Progress(done=50))
        return {"number": number, "state": "shipped"}

    async def refund(self, amount: int) -> str:
        """Refund an amount."""
        return f"refunded {amount}"

    async def ask_warehouse(self) -> str:
        """Wait for somebody else."""
        raise CallDeferred


def producing(agent: Agent[Any, Any], **options: Any) -> Callable[[Run], AsyncIterator[Part]]:
    """Return the function of an agent."""

    async def answer(run: Run) -> AsyncIterator[Part]:
        async for part in pydantic_ai.stream(agent, run, **options):
            yield part

    producer = App().producer(retries=3)
    return producer(answer)


async def test_agent() -> None:
    """Thinking, the tool call with its result, an event of one's own, text and usage, in order."""
    shop = Shop(("find_order", '{"number": 981}'))
    result = await run_producer(producing(shop.agent))
    assert result.status == "done"
    reasoning, call, data, text = result.seen
    assert reasoning == {"type": "reasoning", "text": "Let me see."}
    assert (call["name"], call["arguments"]) == ("find_order", '{"number":981}')
    assert (call["result"], call["is_error"]) == ({"number": 981, "state": "shipped"}, False)
    assert (data["name"], data["value"]["done"]) == ("Progress", 50)
    assert text == {"type": "text", "text": "All done."}
    assert result.end["usage"]["completion_tokens"] > 0


async def test_tool_that_fails() -> None:
    """What the model is requested to do again is an error for the reader."""
    result = await run_producer(producing(Shop(("find_order", '{"number": -1}')).agent))
    (call,) = [part for part in result.seen if part["type"] == "tool_call"]
    assert call["is_error"] is True


async def test_conversation() -> None:
    """The model gets every message of the conversation, tool calls, results and pictures too."""
    shop = Shop(("find_order", '{"number": 1}'))
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My order?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "old",
                    "type": "function",
                    "function": {"name": "find_order", "arguments": '{"number": 7}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "old", "content": "lost"},
        {"role": "assistant", "content": "It is lost."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this one?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/label.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
    ]
    result = await run_producer(producing(shop.agent), messages=messages)
    assert result.text == "All done."
    given = ModelMessagesTypeAdapter.dump_python(shop.requests[0], mode="json")
    parts = [part for message in given for part in message["parts"]]
    assert [part["part_kind"] for part in parts] == [
        "system-prompt", "user-prompt", "tool-call", "tool-return", "text", "user-prompt",
    ]  # fmt: skip
    assert (parts[3]["tool_name"], parts[3]["content"]) == ("find_order", "lost")
    assert [item if isinstance(item, str) else item["kind"] for item in parts[-1]["content"]] == [
        "And this one?", "image-url", "binary",
    ]  # fmt: skip


async def test_structured_output() -> None:
    """An output that is no text is data."""

    class Order(BaseModel):
        number: int

    agent = Agent(TestModel(custom_output_args={"number": 9}), output_type=Order)
    result = await run_producer(producing(agent))
    assert result.seen == [{"type": "data", "name": "output", "value": {"number": 9}}]


async def test_lost_at_every_part() -> None:
    """A later attempt continues behind the tool results that readers have."""
    shop = Shop(("find_order", '{"number": 981}'))
    whole = await run_producer(producing(shop.agent))
    lost = await crash_at_every_part(producing(shop.agent))
    assert len(lost) > 3
    assert [result.seen for result in lost] == [whole.seen] * len(lost)
    shop.numbers.clear()
    await crash_at_every_part(producing(shop.agent))
    assert len(shop.numbers) < 2 * len(lost)  # not in the attempts behind the checkpoint


@pytest.mark.parametrize(
    ("decision", "expected", "is_error"),
    [("approve", "refunded 40", False), ("deny", "The tool call was denied.", True)],
)
async def test_approval(decision: str, expected: str, is_error: bool) -> None:
    """A tool that needs an approval suspends the run; the other tools are called once."""
    shop = Shop(("refund", '{"amount": 40}'), ("find_order", '{"number": 981}'))
    result = await run_producer(producing(shop.agent), inputs={"call_1": decision})
    assert (result.status, result.text, shop.numbers) == ("done", "All done.", [981])
    calls = {part["name"]: part for part in result.seen if part["type"] == "tool_call"}
    assert (calls["refund"]["result"], calls["refund"]["is_error"]) == (expected, is_error)
    assert calls["find_order"]["result"]["state"] == "shipped"
    (requested,) = [data for name, data in result.events if name == "generation.input_requested"]
    assert (requested["prompt"], requested["options"]) == (
        'refund {"amount":40}',
        ["approve", "deny"],
    )
    assert requested["tool_call"] == "call_1"


async def test_call_that_is_made_elsewhere() -> None:
    """Its result is an input without options; one input is requested after the other."""
    shop = Shop(("ask_warehouse", "{}"), ("refund", '{"amount": 40}'))
    inputs = {"call_1": {"stock": 3}, "call_2": "approve"}
    result = await run_producer(producing(shop.agent), inputs=inputs)
    assert (result.status, result.text) == ("done", "All done.")
    calls = {part["name"]: part for part in result.seen if part["type"] == "tool_call"}
    assert calls["refund"]["result"] == "refunded 40"
    requested = [data for name, data in result.events if name == "generation.input_requested"]
    assert [each["input"] for each in requested] == ["call_2", "call_1"]
