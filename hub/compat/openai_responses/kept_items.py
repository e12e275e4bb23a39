"""Items of OpenAI's Responses that chat completions cannot express: the calls of hosted tools
(`web_search_call`, …), custom tools, and whatever else an upstream with this API understands.

Such an item of the input is the only content part of a message of the assistant, and the upstream
gets it unchanged (hub/upstreams/openai/responses_request.py). Upstreams of other kinds never get
one, because the node reads the input for the upstream that it goes to.
"""

from __future__ import annotations

from typing import Any

from hub.core.generation import Message
from hub.core.response_items import ITEM_PART


def keep_item(item: dict[str, Any]) -> Message:
    """Return the message that stands for an item."""
    return Message("assistant", [{"type": ITEM_PART, "item": item}])


def kept_items(message: Message) -> list[dict[str, Any]]:
    """Return the items that a message stands for, none for another message."""
    parts = message.content if isinstance(message.content, list) else []
    kept = [part for part in parts if isinstance(part, dict) and part.get("type") == ITEM_PART]
    return [part["item"] for part in kept if isinstance(part.get("item"), dict)]
