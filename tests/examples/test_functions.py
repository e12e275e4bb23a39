"""The functions of examples/functions, with the real frameworks and their fake models."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from hub.testing import crash_at_every_part, run_producer
from hub_client import HubClient
from tests.examples.sites import EXAMPLES, FUNCTIONS, Sites

ORDER = {"number": 981, "state": "shipped", "arrives": "tomorrow"}
ANSWER = "Your order **981** is shipped and arrives tomorrow."


async def ask(running: Sites, function: str, prompt: str) -> list[dict[str, Any]]:
    """Return the parts of the answer of a function, at its end."""
    async with HubClient(running.hub.url, user=f"user-of-{function}") as hub:
        answer = await hub.ask(prompt, upstream=function)
        async for _ in answer:
            pass
        return answer.parts


async def test_handbook(running: Sites) -> None:
    """It names the pages that it found, and the LLM answers with them."""
    parts = await ask(running, "handbook", "How do I get a refund after a return?")
    assert [part["type"] for part in parts] == ["step", "source", "source", "status", "text"]
    assert [part["title"] for part in parts[1:3]] == ["Refunds", "Returns"]
    assert "refund after a return" in parts[4]["text"]


async def test_handbook_without_a_page(running: Sites) -> None:
    """It says that it knows nothing, and asks no LLM."""
    parts = await ask(running, "handbook", "Who are you?")
    assert parts[-1] == {"type": "text", "text": "The handbook says nothing about that."}


@pytest.mark.parametrize(
    ("function", "number", "result"),
    [
        ("langgraph_agent", 981, '{"number": 981, "state": "shipped", "arrives": "tomorrow"}'),
        ("pydantic_ai_agent", 0, {**ORDER, "number": 0}),  # TestModel invents the arguments
    ],
)
async def test_agent(running: Sites, function: str, number: int, result: object) -> None:
    """The tool call has its result, and the text comes after it."""
    call, text = await ask(running, function, "Where is my order 981?")
    assert (call["type"], call["name"], call["run_by"]) == ("tool_call", "find_order", "producer")
    assert call["arguments"].replace(" ", "") == f'{{"number":{number}}}'
    assert (call["result"], call["is_error"]) == (result, False)
    assert text == {"type": "text", "text": ANSWER}


@pytest.mark.parametrize(
    ("function", "name"),
    [("handbook", "handbook"), ("langgraph_agent", "agent"), ("pydantic_ai_agent", "agent")],
)
async def test_lost_at_every_part(
    function: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process is lost, readers have each step, call, source and text once."""
    monkeypatch.syspath_prepend(EXAMPLES / "functions")
    produce = getattr(importlib.import_module(function), name)
    whole = await run_producer(produce, prompt="A refund?", ask="Five days.")
    assert whole.status == "done"
    lost = await crash_at_every_part(produce, prompt="A refund?", ask="Five days.")
    assert [result.seen for result in lost] == [whole.seen] * len(lost)
    assert {result.attempts for result in lost} == {2}


def test_every_function_is_tested_and_short() -> None:
    """Each file is short enough to read, and its README names it."""
    files = sorted((EXAMPLES / "functions").glob("*.py"))
    assert [file.stem for file in files] == sorted(FUNCTIONS)
    for file in files:
        assert len(file.read_text().splitlines()) <= 80
        assert f"]({file.name})" in (EXAMPLES / "functions" / "README.md").read_text()
