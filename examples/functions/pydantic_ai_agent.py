"""A PydanticAI agent as the answer: its tokens, its tool calls and their results.

    pip install pydantic-ai-slim
    cd examples/functions && hub dev --app pydantic_ai_agent:app --reload

The model is PydanticAI's TestModel, so no key is needed; `openai:gpt-…` takes its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import (
    Agent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models.test import TestModel

from hub.producer import App, Part, Run, ToolCall, ToolResult

app = App()
support = Agent(
    TestModel(custom_output_text="Your order **981** is shipped and arrives tomorrow."),
    instructions="You answer questions about orders.",
)


@support.tool_plain
def find_order(number: int) -> dict[str, Any]:
    """Return an order of the shop."""
    return {"number": number, "state": "shipped", "arrives": "tomorrow"}


@app.producer(timeout_seconds=120)
async def agent(run: Run) -> AsyncIterator[str | Part]:
    async with support.run_stream_events(run.prompt) as events:
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    yield text
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    yield text
                case FunctionToolCallEvent(part=call):
                    yield ToolCall(call.tool_call_id, call.tool_name, call.args_as_json_str())
                case FunctionToolResultEvent(part=result):
                    yield ToolResult(result.tool_call_id, result.content)
