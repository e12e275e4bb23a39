"""A function with parts of every kind, for the clients of the AI SDK and of AG-UI."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hub.producer import (
    App,
    Data,
    File,
    Part,
    Reasoning,
    Run,
    Source,
    Status,
    StepEnd,
    StepStart,
    ToolCall,
    ToolResult,
)

app = App()


async def refund(run: Run) -> AsyncIterator[str | Part]:
    """Ask for an approval of a tool call, then for a text."""
    yield ToolCall("refund", "refund", '{"amount": 40}')
    decision = await run.input(
        "refund", "Refund 40 €?", options=["approve", "deny"], tool_call="refund"
    )
    if decision == "approve":
        yield ToolResult("refund", {"refunded": 40})
    note = await run.input("note", "A note?", schema={"type": "string"})
    yield f"{decision}, {note}"


@app.producer()
async def agent(run: Run) -> AsyncIterator[str | Part]:
    """Yield what an agent yields, and what only the record keeps."""
    if run.prompt == "refund?":
        async for part in refund(run):
            yield part
        return
    yield Status("Searching")
    yield StepStart("search")
    yield ToolCall("call", "find", '{"query": "tea"}')
    yield ToolCall("hidden", "debug", visible=False)
    yield ToolResult("call", {"hits": 2})
    yield StepEnd("search")
    yield ToolCall("broken", "open")
    yield ToolResult("broken", "no such page", is_error=True)
    yield Status("Writing")
    yield Source("https://shop.example/tea", title="Tea", id="tea")
    yield Reasoning("Two hits.")
    yield "Tea is here"
    yield Data("order", {"number": 980}, id="order")
    yield Data("tick", 1, transient=True)
    yield Data("order", {"number": 981}, id="order")
    yield Data("state", {"cart": ["tea"]})
    yield File(data="aGk=", media_type="image/png", name="tea.png")
    yield "."
