"""PydanticAI as a function, with the real library and its function model."""

from __future__ import annotations

from typing import Any

import pytest

from hub.testing import crash_at_every_part, run_producer
from tests.producer import frameworks


async def test_agent() -> None:
    """Thinking, the tool call with its result, an event of one's own, text and usage, in order."""
    shop = frameworks.pydantic_ai.Shop(("find_order", '{"number": 981}'))
    result = await run_producer(frameworks.pydantic_ai.producing(shop.agent))
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
    result = await run_producer(
        frameworks.pydantic_ai.producing(
            frameworks.pydantic_ai.Shop(("find_order", '{"number": -1}')).agent
        )
    )
    (call,) = [part for part in result.seen if part["type"] == "tool_call"]
    assert call["is_error"] is True


async def test_conversation() -> None:
    """The model gets every message of the conversation, tool calls, results and pictures too."""
    shop = frameworks.pydantic_ai.Shop(("find_order", '{"number": 1}'))
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
    result = await run_producer(frameworks.pydantic_ai.producing(shop.agent), messages=messages)
    assert result.text == "All done."
    given = frameworks.pydantic_ai.dump_messages(shop.requests[0])
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
    result = await run_producer(
        frameworks.pydantic_ai.producing(frameworks.pydantic_ai.build_structured())
    )
    assert result.seen == [{"type": "data", "name": "output", "value": {"number": 9}}]


async def test_lost_at_every_part() -> None:
    """A later attempt continues behind the tool results that readers have."""
    shop = frameworks.pydantic_ai.Shop(("find_order", '{"number": 981}'))
    whole = await run_producer(frameworks.pydantic_ai.producing(shop.agent))
    lost = await crash_at_every_part(frameworks.pydantic_ai.producing(shop.agent))
    assert len(lost) > 3
    assert [result.seen for result in lost] == [whole.seen] * len(lost)
    shop.numbers.clear()
    await crash_at_every_part(frameworks.pydantic_ai.producing(shop.agent))
    assert len(shop.numbers) < 2 * len(lost)  # not in the attempts behind the checkpoint


@pytest.mark.parametrize(
    ("decision", "expected", "is_error"),
    [("approve", "refunded 40", False), ("deny", "The tool call was denied.", True)],
)
async def test_approval(decision: str, expected: str, is_error: bool) -> None:
    """A tool that needs an approval suspends the run; the other tools are called once."""
    shop = frameworks.pydantic_ai.Shop(
        ("refund", '{"amount": 40}'), ("find_order", '{"number": 981}')
    )
    result = await run_producer(
        frameworks.pydantic_ai.producing(shop.agent), inputs={"call_1": decision}
    )
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
    shop = frameworks.pydantic_ai.Shop(("ask_warehouse", "{}"), ("refund", '{"amount": 40}'))
    inputs = {"call_1": {"stock": 3}, "call_2": "approve"}
    result = await run_producer(frameworks.pydantic_ai.producing(shop.agent), inputs=inputs)
    assert (result.status, result.text) == ("done", "All done.")
    calls = {part["name"]: part for part in result.seen if part["type"] == "tool_call"}
    assert calls["refund"]["result"] == "refunded 40"
    requested = [data for name, data in result.events if name == "generation.input_requested"]
    assert [each["input"] for each in requested] == ["call_2", "call_1"]
