"""Agents of PydanticAI for tests/producer/test_pydantic_ai.py, which imports them late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

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


class Order(BaseModel):
    """An output that is no text."""

    number: int


def build_structured() -> Agent[None, Order]:
    """Return an agent whose output is an order."""
    return Agent(TestModel(custom_output_args={"number": 9}), output_type=Order)


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


def dump_messages(messages: list[ModelMessage]) -> list[dict[str, Any]]:
    """Return messages as JSON has them."""
    dumped: list[dict[str, Any]] = ModelMessagesTypeAdapter.dump_python(messages, mode="json")
    return dumped
