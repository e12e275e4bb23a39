"""Input that no upstream can use is refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from hub.compat.ai_sdk.requests import UiMessage
from hub.compat.ai_sdk.requests import to_messages as ui_messages_of
from hub.compat.openai_responses.input import to_messages
from hub.compat.openai_responses.requests import read_responses
from hub.errors import BadRequest


@pytest.mark.parametrize(
    ("item", "missing"),
    [
        ({"type": "function_call_output", "output": "rain"}, "call_id"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "call_id"),
        ({"type": "function_call", "call_id": "c1", "arguments": "{}"}, "name"),
        ({"content": "hi"}, "role"),
    ],
)
def test_responses_item_without_a_required_field(item: dict[str, Any], missing: str) -> None:
    """An item without a required field is refused; the hub does not invent ids."""
    with pytest.raises(BadRequest, match=rf"input\[1\] has no {missing}"):
        to_messages([{"role": "user", "content": "hi"}, item])


def test_tool_part_without_its_id() -> None:
    """A tool part of the AI SDK without an id is refused."""
    part = {"type": "tool-weather", "state": "output-available", "input": {}, "output": 1}
    with pytest.raises(BadRequest, match=r"messages\[0\]: a tool part has no toolCallId"):
        ui_messages_of([UiMessage("assistant", parts=[part])], None)
    step = [UiMessage("assistant", parts=[{**part, "toolCallId": "c1"}])]
    assert [message.tool_call_id for message in ui_messages_of(step, None)] == [None, "c1"]


def test_params_of_a_response() -> None:
    """The LLM gets parameters with the names of chat completions, and none that only OpenAI's own
    services know, such as what Codex CLI tells about itself.
    """
    given = {
        "input": "hi",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "max_output_tokens": 9,
        "top_k": 3,
        "reasoning": {"effort": "low", "summary": "auto"},
        "client_metadata": {"session_id": "s"},
        "context_management": [{"type": "compaction"}],
        "background_options": {},
    }
    assert read_responses(given)[1].params == {
        "verbosity": "low",
        "max_tokens": 9,
        "top_k": 3,
        "reasoning_effort": "low",
    }
