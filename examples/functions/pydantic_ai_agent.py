"""A PydanticAI agent as the answer: its tokens, its tool calls and their results.

    pip install pydantic-ai-slim
    cd examples/functions && hub dev --app pydantic_ai_agent:app --reload

The model is PydanticAI's TestModel, so no key is needed; `openai:gpt-…` takes its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from hub.producer import App, Part, Run
from hub.producer.adapters import pydantic_ai

app = App()
support = Agent(
    TestModel(custom_output_text="Your order **981** is shipped and arrives tomorrow."),
    instructions="You answer questions about orders.",
)


@support.tool_plain
def find_order(number: int) -> dict[str, Any]:
    """Return an order of the shop."""
    return {"number": number, "state": "shipped", "arrives": "tomorrow"}


@app.producer(retries=2, timeout_seconds=120)
async def agent(run: Run) -> AsyncIterator[Part]:
    async for part in pydantic_ai.stream(support, run):
        yield part
