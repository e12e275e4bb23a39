"""What the messages of a conversation say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def last_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last message of the user; empty if there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
